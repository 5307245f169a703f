"""Reading on in a log that another process writes, over its rotation and our own restarts.

A place in a log is the offset in a file that is known by its first line, not by its name: what was
``gateway.log`` may be ``gateway.log.1`` by now.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from pathlib import Path

from marina.errors import RolloutError


@dataclass(frozen=True)
class Place:
    """Where reading goes on.

    Attributes:
        file: Digest of the file's first line; empty before there is one.
        offset: In bytes.
    """

    file: str = ""
    offset: int = 0

    def as_list(self) -> list[str | int]:
        """Give the place for JSON."""
        return list(astuple(self))


class LogLost(RolloutError):
    """A log that no longer holds what was not read yet."""


class LogStream:
    """A log that grows, and may be put aside as ``<name>.1`` meanwhile.

    Args:
        file: Its name.
    """

    def __init__(self, file: Path):
        self._file = file
        self._aside = file.with_name(f"{file.name}.1")

    def start(self) -> Place:
        """Give the oldest place that is left."""
        oldest = self._aside if _first_line(self._aside) else self._file
        return Place(_first_line(oldest))

    def end(self) -> Place:
        """Give the place behind the last whole line."""
        first = _first_line(self._file)
        return Place(first, _whole(self._file, 0)[1]) if first else Place()

    def has(self, place: Place) -> bool:
        """Whether reading can go on there."""
        if not place.file:
            return True
        return any(
            _first_line(file) == place.file and file.stat().st_size >= place.offset
            for file in (self._file, self._aside)
        )

    def read(self, place: Place, until: Place | None = None) -> tuple[list[bytes], Place]:
        """Read whole lines.

        Args:
            place: From there.
            until: To there; None reads all that there is.

        Returns:
            The lines, and where to go on.

        Raises:
            LogLost: The log was removed, cut off, or put aside twice since.
        """
        try:
            return self._read(place, until)
        except FileNotFoundError:
            return [], place  # it is being put aside at this very moment: ask again

    def _read(self, place: Place, until: Place | None) -> tuple[list[bytes], Place]:
        if until is not None and not until.file:
            return [], until
        if not self.has(place):
            raise LogLost(
                f"{self._file} no longer holds what stood behind byte {place.offset:,}: it was "
                "removed, cut off or rotated twice while no rollout read it. "
                "`marina rollout start FILE --skip-lost` goes on at its end, without those requests"
            )
        is_aside = bool(place.file) and _first_line(self._file) != place.file
        found: list[bytes] = []
        for file in [self._aside, self._file] if is_aside else [self._file]:
            first = _first_line(file)
            if not first:
                continue  # put aside a moment ago; nothing new stands in it yet
            is_last = until is not None and until.file == first
            begin = place.offset if first == place.file else 0
            lines, end = _whole(file, begin, until.offset if until and is_last else None)
            found += lines
            place = Place(first, end)
            if is_last:
                break
        return found, place


def _first_line(file: Path) -> str:
    """Give the digest of a file's first line; empty if it has none."""
    try:
        with file.open("rb") as content:
            line = content.readline()
    except FileNotFoundError:
        return ""
    return hashlib.sha256(line).hexdigest()[:16] if line.endswith(b"\n") else ""


def _whole(file: Path, begin: int, end: int | None = None) -> tuple[list[bytes], int]:
    """Read the whole lines behind an offset, and say where the last of them ends."""
    with file.open("rb") as content:
        content.seek(begin)
        read = content.read() if end is None else content.read(max(0, end - begin))
    whole = read[: read.rfind(b"\n") + 1]
    return [line for line in whole.split(b"\n") if line], begin + len(whole)
