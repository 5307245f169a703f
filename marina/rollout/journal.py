"""The rollout's log: one JSON line an event, only ever added to.

A line is on the disk before the call that wrote it returns. A kill in the middle of a line leaves
half of it at the end: that line never happened, and is cut off when the log is next opened.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from marina.errors import RolloutError

Event = dict[str, Any]


class Journal:
    """An append-only log of events, held by one process at a time.

    Args:
        path: The file; made if it is not there.

    Raises:
        RolloutError: Another process holds it, or a line in it is damaged.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            os.close(self._file)
            raise RolloutError(
                f"{path} is held by another process: a rollout has one driver at a time"
            ) from err
        whole = path.read_bytes().rpartition(b"\n")
        os.ftruncate(self._file, len(whole[0]) + len(whole[1]))
        _sync_folder(path.parent)
        self.events = read_events(path)

    def append(self, event: Event) -> None:
        """Add an event; it is on the disk when this returns."""
        line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        written = 0
        while written < len(line):
            written += os.write(self._file, line[written:])
        os.fsync(self._file)
        self.events.append(event)

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_events(path: Path) -> list[Event]:
    """Read a log, while it is written or after; half a line at the end is left out.

    Raises:
        RolloutError: There is none, or a whole line in it is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as err:
        raise RolloutError(f"no rollout log at {path}: {err.strerror}") from err
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except ValueError as err:
            raise RolloutError(f"{path}, line {number} is no JSON: the log is damaged") from err
    return events


def _sync_folder(folder: Path) -> None:
    """Make a new file's name outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
