"""What is in a model store, as it is shown."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from marina.archive.inspection import PROVENANCE
from marina.archive.signature import signature_file
from marina.archive.version import precedence

if TYPE_CHECKING:
    from pathlib import Path

    from marina.archive.index import Entry
    from marina.archive.store import ModelStore


@dataclass(frozen=True)
class Row:
    """One archive of the store.

    Attributes:
        entry: Its line in the index.
        aliases: That stand for it.
        size_bytes: Of the file; None if it is not there.
        accuracy: On the test split; None if its provenance does not say.
        is_signed: Whether a signature lies beside it, of whomever.
    """

    entry: Entry
    aliases: tuple[str, ...]
    size_bytes: int | None
    accuracy: float | None
    is_signed: bool

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina store list --json`` prints it."""
        rest = {key: value for key, value in asdict(self).items() if key != "entry"}
        return {**asdict(self.entry), **rest}


def listing(store: ModelStore, name: str | None = None) -> list[Row]:
    """List a store's archives, the highest version of each model first.

    Raises:
        ArchiveError: The index is damaged.
    """
    index = store.read()
    entries = sorted(index.entries, key=lambda entry: precedence(entry.version), reverse=True)
    entries.sort(key=lambda entry: entry.name)  # stable: versions stay in their order
    return [
        _row(entry, store.file(entry), tuple(index.aliases_of(entry)))
        for entry in entries
        if name in {None, entry.name}
    ]


def _row(entry: Entry, file: Path, aliases: tuple[str, ...]) -> Row:
    return Row(
        entry=entry,
        aliases=aliases,
        size_bytes=file.stat().st_size if file.is_file() else None,
        accuracy=_accuracy(file),
        is_signed=signature_file(file).is_file(),
    )


def _accuracy(file: Path) -> float | None:
    """Read the accuracy, for show; `verify` says why an archive cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            evaluation = json.loads(archive.read(PROVENANCE))["evaluation"]
            return float(evaluation["accuracy"])
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        return None
