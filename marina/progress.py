"""Progress on stderr, so that stdout holds results alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)


def tell(message: str) -> None:
    """Tell of an event on stderr, brackets and all."""
    console.print(message, markup=False)


class Bar:
    """One progress bar."""

    def __init__(self, progress: Progress, task: TaskID):
        self._progress = progress
        self._task = task

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Move on by ``steps`` and, if given, change the text at the end of the line."""
        self._progress.advance(self._task, steps)
        if note is not None:
            self._progress.update(self._task, note=note)


@contextmanager
def progress_bar(title: str, total: int, done: int = 0) -> Iterator[Bar]:
    """Show a bar with count, elapsed and remaining time while the block runs.

    Args:
        title: What goes on.
        total: Steps in all.
        done: Steps done before this began.
    """
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, progress.add_task(title, total=total, completed=done, note=""))


def until(condition: Callable[[], bool], poll_s: float = 0.5) -> None:
    """Wait until a condition comes true; Ctrl-C gives up."""
    while not condition():
        time.sleep(poll_s)
