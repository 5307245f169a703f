"""The model store: a folder of ``.mar`` files and ``index.json``, one line an archive."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from marina.errors import ArchiveError
from marina.files import sha256_file, whole_file, write_whole


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
    """

    name: str
    version: str
    file: str
    sha256: str
    created: str
    source_run: str


@dataclass(frozen=True)
class ModelStore:
    """The folder that TorchServe serves from."""

    folder: Path

    @property
    def index(self) -> Path:
        """Where the index is."""
        return self.folder / "index.json"

    def entries(self) -> list[Entry]:
        """Read the index; a store without one is empty.

        Raises:
            ArchiveError: The index is not one that Marina wrote.
        """
        try:
            return [Entry(**entry) for entry in json.loads(self.index.read_text())["archives"]]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as err:
            raise ArchiveError(
                f"{self.index} is damaged ({err}). Remove it and archive again with --force"
            ) from err

    def entry(self, name: str, version: str) -> Entry | None:
        """Find the line of one archive."""
        wanted = (name, version)
        return next((e for e in self.entries() if (e.name, e.version) == wanted), None)

    def refuse_overwrite(self, name: str, version: str, *, force: bool) -> None:
        """Raise unless the archive may be written.

        Raises:
            ArchiveError: It exists and ``force`` is not set.
        """
        target = self.folder / f"{name}-{version}.mar"
        if target.exists() and not force:
            raise ArchiveError(f"{target} is there already: choose another --version, or --force")

    def add(
        self, archived: Path, name: str, version: str, source_run: str, *, force: bool
    ) -> Entry:
        """Copy a finished archive to its place and write its line, both under the store's lock.

        Raises:
            ArchiveError: It exists and ``force`` is not set.
        """
        entry = Entry(
            name=name,
            version=version,
            file=f"{name}-{version}.mar",
            sha256=sha256_file(archived),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            source_run=source_run,
        )
        with self._lock():
            self.refuse_overwrite(name, version, force=force)
            others = [e for e in self.entries() if (e.name, e.version) != (name, version)]
            with whole_file(self.folder / entry.file) as file:
                shutil.copyfile(archived, file)
            self._write([*others, entry])
        return entry

    def _write(self, entries: list[Entry]) -> None:
        lines = ",\n".join(
            json.dumps(asdict(entry)) for entry in sorted(entries, key=lambda e: e.file)
        )
        write_whole(self.index, f'{{"archives": [\n{lines}\n]}}\n')

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other processes out of the store; the lock goes with the process that holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
