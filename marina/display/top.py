"""A running server, as a table that is drawn again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from marina.top import Sample, Version


def monitor(sample: Sample, url: str) -> RenderableType:
    """Draw what a server does.

    Args:
        sample: What it did lately.
        url: Where that was read.
    """
    ready = "[green]ready[/]" if sample.is_ready else "[red]not ready[/]"
    head = Text.from_markup(
        f"{escape(url)}  {ready}  restarts {sample.restarts}  repairs {sample.repairs}\n"
        f"{sample.requests_per_s:.1f} requests/s  errors/s {_errors(sample.errors_per_s)}  "
        f"over {sample.seconds:.0f} s, latency at the {sample.clock}\n"
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)  # 80 characters are enough
    table.add_column("model", overflow="fold")
    for column in ("version", "share"):
        table.add_column(column, no_wrap=True)
    for column in ("req/s", "p50 ms", "p99 ms", "queue", "workers", "busy", "batch"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("errors/s", overflow="fold")
    for version in sample.versions:
        table.add_row(*_row(version))
    return Group(head, table)


def _row(version: Version) -> list[str]:
    is_short = version.workers_ready < version.workers_wanted
    is_full = version.queue > 0.8 * version.queue_limit
    share = "" if version.split_percent is None else f"{version.split_percent:g}%"
    return [
        escape(version.model),
        f"{escape(version.version)}{' ✓' if version.is_default else ''}",
        share,
        f"{version.requests_per_s:.1f}",
        _ms(version.p50_ms),
        _ms(version.p99_ms),
        f"{'[red]' if is_full else ''}{version.queue}/{version.queue_limit}",
        f"{'[red]' if is_short else ''}{version.workers_ready}/{version.workers_wanted}",
        str(version.workers_busy),
        "" if version.batch_size is None else f"{version.batch_size:.1f}/{version.batch_limit}",
        _errors(version.errors_per_s),
    ]


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _errors(by_kind: dict[str, float]) -> str:
    if not by_kind:
        return "0"
    return f"[red]{escape(', '.join(f'{kind} {rate:.1f}' for kind, rate in by_kind.items()))}[/]"
