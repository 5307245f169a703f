"""What a model store holds: one line an archive, and the aliases of versions.

{"archives": [
{"name": "resnet", "version": "1.0", "file": "resnet-1.0.mar", "sha256": "…", …}
],
"aliases": {"resnet": {"stable": "1.0"}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any

from marina.archive.version import precedence


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    Attributes:
        name: Of the model.
        version: Of the model.
        file: Name of the ``.mar`` in the store.
        sha256: Of that file.
        created: When it was put there, ISO 8601, UTC.
        source_run: ``<name>/<timestamp>`` of the run that it was made from.

    Raises:
        ValueError: The file's name leads elsewhere.
    """

    name: str
    version: str
    file: str
    sha256: str
    created: str
    source_run: str

    def __post_init__(self) -> None:
        if PurePath(self.file).name != self.file or not self.file.endswith(".mar"):
            raise ValueError(f"{self.file!r} is no file of the store")


@dataclass(frozen=True)
class Index:
    """What a store holds. It is never changed: each change writes a new one.

    Attributes:
        entries: One for each archive.
        aliases: By model, the version that each of its aliases stands for.
    """

    entries: tuple[Entry, ...] = ()
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def find(self, name: str, version: str) -> Entry | None:
        """Find an archive by its version or an alias of it; None if there is none."""
        meant = self.aliases.get(name, {}).get(version, version)
        return next((e for e in self.entries if (e.name, e.version) == (name, meant)), None)

    def aliases_of(self, entry: Entry) -> list[str]:
        """Give the aliases that stand for an archive."""
        given = self.aliases.get(entry.name, {})
        return sorted(alias for alias, version in given.items() if version == entry.version)

    def with_alias(self, name: str, alias: str, version: str | None) -> Index:
        """Give it with an alias that stands for a version, or with None without the alias."""
        others = {key: value for key, value in self.aliases.get(name, {}).items() if key != alias}
        given = others if version is None else {**others, alias: version}
        rest = {key: value for key, value in self.aliases.items() if key != name}
        return replace(self, aliases={**rest, name: given} if given else rest)

    def text(self) -> str:
        """Give it as the file's text, a line an archive."""
        ordered = sorted(self.entries, key=lambda e: (e.name, precedence(e.version)))
        lines = ",\n".join(json.dumps(asdict(entry)) for entry in ordered)
        aliases = json.dumps(self.aliases, sort_keys=True)
        return f'{{"archives": [\n{lines}\n],\n"aliases": {aliases}}}\n'


def parse_index(document: dict[str, Any]) -> Index:
    """Read an index's JSON.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is none.
    """
    entries = tuple(Entry(**entry) for entry in document["archives"])
    aliases = {
        str(name): {str(alias): str(version) for alias, version in given.items()}
        for name, given in document.get("aliases", {}).items()
    }
    return Index(entries, aliases)
