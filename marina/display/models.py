"""What a running server serves, and the progress of a change."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from marina.display.console import output
from marina.errors import MarinaError
from marina.progress import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from marina.client import ModelStatus
    from marina.client.operations import Manager

_POLL_S = 0.3


def models(rows: list[ModelStatus]) -> None:
    """Show versions, a line each."""
    table = Table("model", "version", "default", "workers", "batch", "delay", "queue", "device")
    for column in ("SHA-256", "accuracy", "policy"):
        table.add_column(column)
    for row in rows:
        is_short = row.ready_workers < row.workers
        table.add_row(
            row.name,
            row.version,
            "✓" if row.is_default else "",
            f"{'[red]' if is_short else ''}{row.ready_workers}/{row.workers}",
            str(row.batch_size),
            f"{row.max_batch_delay_ms} ms",
            str(row.pending),
            row.device,
            (row.sha256 or "")[:12],
            f"{row.accuracy:.2%}" if row.accuracy is not None else "",
            row.policy or "",
        )
    output.print(table)


def followed(title: str, manager: Manager, change: Callable[[Manager], str]) -> str:
    """Run a change, and show on one line of stderr what the server does for it."""
    done = threading.Event()
    with console.status(title) as line:

        def follow() -> None:
            while not done.wait(_POLL_S):
                with contextlib.suppress(MarinaError):  # the change itself will say it
                    progress = manager.progress()
                    if progress and progress.state == "running":
                        line.update(escape(f"{progress.title}: {progress.step}"))

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            return change(manager)
        finally:
            done.set()
            thread.join()
