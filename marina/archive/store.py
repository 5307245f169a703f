"""The model store: a folder of ``.mar`` files and their index, ``index.json``."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from marina.archive.index import Entry, Index, parse_index
from marina.archive.signature import sign, signature_file
from marina.archive.version import precedence
from marina.errors import ArchiveError
from marina.files import sha256_file, whole_file, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Entry", "Index", "ModelStore"]

_ALIAS = re.compile(r"[a-z][a-z-]{0,31}")


@dataclass(frozen=True)
class ModelStore:
    """The folder that TorchServe serves from."""

    folder: Path

    @property
    def index(self) -> Path:
        """Where the index is."""
        return self.folder / "index.json"

    def read(self) -> Index:
        """Read the index; a store without one is empty.

        Raises:
            ArchiveError: The index is not one that Marina wrote.
        """
        try:
            return parse_index(json.loads(self.index.read_text()))
        except FileNotFoundError:
            return Index()
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise ArchiveError(
                f"{self.index} is damaged ({err}). Remove it and archive again with --force"
            ) from err

    def entries(self) -> list[Entry]:
        """Read the lines of the index, see `read`."""
        return list(self.read().entries)

    def entry(self, name: str, version: str) -> Entry | None:
        """Find the line of one archive, by its version or an alias."""
        return self.read().find(name, version)

    def file(self, entry: Entry) -> Path:
        """Say where an archive is."""
        return self.folder / entry.file

    def refuse_overwrite(self, name: str, version: str, *, force: bool) -> None:
        """Raise unless the archive may be written.

        Raises:
            ArchiveError: It exists and ``force`` is not set.
        """
        target = self.folder / f"{name}-{version}.mar"
        if target.exists() and not force:
            raise ArchiveError(f"{target} is there already: choose another --version, or --force")

    def add(
        self,
        archived: Path,
        name: str,
        version: str,
        source_run: str,
        *,
        force: bool,
        key: Ed25519PrivateKey | None = None,
    ) -> Entry:
        """Copy a finished archive to its place and write its line, both under the store's lock.

        Args:
            archived: The ``.mar``.
            name: Of the model.
            version: Of the model.
            source_run: What it was made from.
            force: Whether an archive of that version is replaced.
            key: To sign it with; without one, a signature of what was there goes.

        Raises:
            ArchiveError: It exists and ``force`` is not set, or the version is an alias.
        """
        entry = Entry(
            name=name,
            version=version,
            file=f"{name}-{version}.mar",
            sha256=sha256_file(archived),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            source_run=source_run,
        )
        with self._changing() as index:
            self.refuse_overwrite(name, version, force=force)
            if version in index.aliases.get(name, {}):
                raise ArchiveError(f"{version} is an alias of {name}: choose another --version")
            signature_file(self.file(entry)).unlink(missing_ok=True)
            with whole_file(self.file(entry)) as file:
                shutil.copyfile(archived, file)
            if key is not None:
                sign(self.file(entry), entry.sha256, key)
            others = [e for e in index.entries if (e.name, e.version) != (name, version)]
            self._write(replace(index, entries=(*others, entry)))
        return entry

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias stand for a version; one that there is moves.

        Args:
            name: Of the model.
            alias: Lower-case letters and hyphens.
            version: Of the model, or another alias of one.

        Raises:
            ArchiveError: There is no such version, or the alias cannot be one.
        """
        if not _ALIAS.fullmatch(alias):
            raise ArchiveError(
                f"an alias is lower-case letters and hyphens, such as stable, not {alias!r}"
            )
        with self._changing() as index:
            entry = index.find(name, version)
            if entry is None:
                raise ArchiveError(self._unknown(index, name, version))
            if any((e.name, e.version) == (name, alias) for e in index.entries):
                raise ArchiveError(f"{alias} is a version of {name} itself: choose another alias")
            self._write(index.with_alias(name, alias, entry.version))

    def remove_alias(self, name: str, alias: str) -> None:
        """Take an alias away.

        Raises:
            ArchiveError: There is none of that name.
        """
        with self._changing() as index:
            given = index.aliases.get(name, {})
            if alias not in given:
                there = ", ".join(sorted(given)) or "none"
                raise ArchiveError(f"{name} has no alias {alias}; it has {there}")
            self._write(index.with_alias(name, alias, None))

    def remove(self, entries: Iterable[Entry]) -> None:
        """Remove archives, their signatures and their lines.

        The lines go first: a reader may miss a file's line, never a line's file.
        """
        gone = set(entries)
        with self._changing() as index:
            self._write(replace(index, entries=tuple(e for e in index.entries if e not in gone)))
            for entry in gone:
                self.file(entry).unlink(missing_ok=True)
                signature_file(self.file(entry)).unlink(missing_ok=True)

    def find(self, name: str, version: str) -> Entry:
        """Find an archive by its version or an alias of it.

        Raises:
            ArchiveError: There is none; the message says which there are.
        """
        index = self.read()
        entry = index.find(name, version)
        if entry is None:
            raise ArchiveError(self._unknown(index, name, version))
        return entry

    def _unknown(self, index: Index, name: str, version: str) -> str:
        versions = sorted((e.version for e in index.entries if e.name == name), key=precedence)
        if not versions:
            names = ", ".join(sorted({entry.name for entry in index.entries})) or "nothing"
            return f"{self.folder} has no model {name}; it has {names}"
        aliases = sorted(index.aliases.get(name, {}))
        return f"{name} has no version {version}; it has {', '.join([*versions, *aliases])}"

    def _write(self, index: Index) -> None:
        write_whole(self.index, index.text())

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Index]:
        """Keep other processes out of the store; the lock goes with the process that holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield self.read()
