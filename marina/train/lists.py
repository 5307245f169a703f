"""List files: a path and a label per line, as text or CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from marina.errors import DataError

Listed = list[tuple[Path, str]]


def read_list(file: Path, root: Path) -> Listed:
    """Give path and label of each image that a list names.

    In a ``.csv`` a row is ``path,label``, and a first row of just these words is a heading. In any
    other file the label is a line's last word, so that paths may hold spaces; empty lines and those
    that begin with ``#`` say nothing.

    Args:
        file: The list.
        root: What its relative paths are relative to.

    Raises:
        DataError: There is no such list, a line is not of that form, or names a file that is not
            there.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise DataError(f"no list of images at {file}: {err.strerror}") from err
    rows = _csv_rows(text) if file.suffix.lower() == ".csv" else _text_rows(text)
    listed = []
    for number, row in rows:
        if len(row) != 2 or not all(row):
            form = "path,label" if file.suffix.lower() == ".csv" else "path label"
            raise DataError(f"{file}, line {number}: expected `{form}`, got {row}")
        path = root / row[0]
        if not path.is_file():
            raise DataError(f"{file}, line {number}: no image at {path}")
        listed.append((path, row[1]))
    if not listed:
        raise DataError(f"{file} names no image")
    return listed


def _csv_rows(text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(text.splitlines())
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    return rows[1:] if rows and rows[0][1] == ["path", "label"] else rows


def _text_rows(text: str) -> list[tuple[int, list[str]]]:
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line.rsplit(None, 1)) for number, line in lines if line and line[0] != "#"]


def class_order(labels: set[str]) -> tuple[str, ...]:
    """Sort class names, numbers by their value."""
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))
