"""From images of known class to an image folder with training, validation and test splits."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from marina.errors import DataError
from marina.files import sha256_file, whole_folder
from marina.progress import progress_bar
from marina.train.dataset import images_in
from marina.train.lists import Listed, read_list
from marina.train.splitting import stratified_together


@dataclass(frozen=True)
class Prepared:
    """What was made.

    Attributes:
        counts: Images of each class, by split.
        duplicates: Groups of files of one content, each kept within one split.
        contradictions: Those of them whose files are of several classes.
    """

    counts: dict[str, dict[str, int]]
    duplicates: list[list[str]]
    contradictions: list[list[str]]

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as ``marina data prepare --json`` prints them."""
        return asdict(self)


def prepare_folder(
    source: Path, out: Path, fractions: dict[str, float], seed: int, *, copy: bool
) -> Prepared:
    """Write ``out/<split>/<class>/*``, stratified by class; files of one content share a split.

    Args:
        source: A folder ``<class>/*``, or a list file whose paths are relative to its own folder.
        out: The new image folder.
        fractions: Share of ``val`` and ``test``.
        seed: Of the split.
        copy: Copy the files; else they are hard links.

    Raises:
        DataError: There is no image in the source, the shares leave nothing to train on, the
            output is there already, or hard links are not to be had.
    """
    if sum(fractions.values()) >= 1:
        raise DataError(f"{fractions} leave nothing to train on: their sum must be below 1")
    if out.exists():
        raise DataError(f"{out} is there already: remove it, or choose another folder")
    listed = _images(source)
    labels = [label for _, label in listed]
    contents = []
    with progress_bar("hash", len(listed)) as bar:
        for file, _ in listed:
            contents.append(sha256_file(file))
            bar.advance()
    splits = stratified_together(labels, contents, fractions, seed)
    with whole_folder(out) as folder, progress_bar("write", len(listed)) as bar:
        taken: Counter[Path] = Counter()
        for (file, label), split in zip(listed, splits, strict=True):
            _place(file, _free_name(folder / split / label / file.name, taken), copy=copy)
            bar.advance(note=split)
    groups = _same(listed, contents)
    return Prepared(
        counts={split: _count(labels, splits, split) for split in ("train", *fractions)},
        duplicates=[[str(file) for file, _ in group] for group in groups],
        contradictions=[
            [str(file) for file, _ in group]
            for group in groups
            if len({label for _, label in group}) > 1
        ],
    )


def _images(source: Path) -> Listed:
    if source.is_file():
        return read_list(source, source.parent)
    if not source.is_dir():
        raise DataError(f"no folder <class>/* and no list file at {source}")
    classes = sorted(path for path in source.iterdir() if path.is_dir())
    listed = [(file, folder.name) for folder in classes for file in images_in(folder)]
    if not listed:
        raise DataError(f"no image in {source}: expected {source}/<class>/*.png, .jpg, …")
    return listed


def _free_name(path: Path, taken: Counter[Path]) -> Path:
    """Give the path, or one with a number where another folder's file has taken that name."""
    taken[path] += 1
    free = path if taken[path] == 1 else path.with_stem(f"{path.stem}-{taken[path]}")
    return _free_name(path, taken) if free.exists() else free


def _place(file: Path, target: Path, *, copy: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        shutil.copyfile(file, target)
        return
    try:
        os.link(file.resolve(), target)
    except OSError as err:
        raise DataError(
            f"{file} cannot be hard-linked into {target.parent} ({err.strerror}): use --copy"
        ) from err


def _count(labels: list[str], splits: list[str], wanted: str) -> dict[str, int]:
    found = Counter(label for label, split in zip(labels, splits, strict=True) if split == wanted)
    return {label: found[label] for label in sorted(set(labels))}


def _same(listed: Listed, contents: list[str]) -> list[Listed]:
    groups: dict[str, Listed] = {}
    for entry, content in zip(listed, contents, strict=True):
        groups.setdefault(content, []).append(entry)
    return [group for group in groups.values() if len(group) > 1]
