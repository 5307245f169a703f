"""What benchmarks found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from marina.bench.report import describe_load, notes, numbers
from marina.bench.search import frontier
from marina.display.console import output
from marina.progress import console as messages

if TYPE_CHECKING:
    from marina.bench.breakdown import Breakdown
    from marina.bench.ceiling import Ceiling
    from marina.bench.comparison import Change
    from marina.bench.limits import Verdict
    from marina.bench.result import Result
    from marina.bench.sweep import Swept


def result(measured: Result) -> None:
    """Show a measurement's numbers, and what to know before believing them."""
    table = Table(show_header=False, title=describe_load(measured.document["load"]))
    for name, value in numbers(measured):
        table.add_row(name, value)
    output.print(table)
    for note in notes(measured):
        messages.print(f"[yellow]{escape(note)}[/]")
    for text, count in measured.document["errors"].items():
        messages.print(f"[red]{count} ×[/] {escape(text)}")


def verdicts(found: list[Verdict]) -> None:
    """Show which limits were kept."""
    for verdict in found:
        mark = "[green]kept  [/]" if verdict.is_met else "[red]missed[/]"
        output.print(f"{mark} {verdict.limit}: {verdict.found:.4g}")


def changes(found: list[Change], differing: list[str]) -> None:
    """Show by how much each number changed, and how sure that is."""
    table = Table("", "before", "after", "change", "95% interval")
    for change in found:
        color = "bold" if change.is_sure else "dim"
        table.add_row(
            change.metric,
            f"{change.before:.4g}",
            f"{change.after:.4g}",
            f"[{color}]{change.change:+.1%}[/]",
            f"[{color}]{change.low:+.1%} … {change.high:+.1%}[/]",
        )
    output.print(table)
    for line in differing:
        messages.print(f"[yellow]{escape(line)}[/]")


def ceiling(found: Ceiling) -> None:
    """Show what each way to use the machine gave, in-process."""
    title = f"{found.archive} in-process, {found.images['source']}"
    table = Table("processes × threads", "batch", "answers/s", "CPU ms", "ms a batch", title=title)
    for way in found.ways:
        mark = "bold" if way is found.best else ""
        table.add_row(
            f"{way.processes} × {way.threads}",
            str(way.batch_size),
            f"{way.throughput:.1f}",
            f"{way.cpu_ms:.2f}",
            f"{way.p50_ms:.1f}",
            style=mark,
        )
    output.print(table)
    output.print(f"limit: {found.best.throughput:.1f} answers/s ({found.best.layout})")


def breakdown(found: Breakdown) -> None:
    """Show where a request's milliseconds go."""
    table = Table("stage", "ms", "share", "from", title=found.title)
    total = sum(stage.ms for stage in found.stages)
    for stage in found.stages:
        table.add_row(stage.name, f"{stage.ms:.2f}", f"{stage.ms / total:.0%}", stage.source)
    table.add_row("all", f"{total:.2f}", "", "the client's clock", style="bold")
    output.print(table)
    for note in found.notes:
        messages.print(f"[yellow]{escape(note)}[/]")


def swept(found: Swept) -> None:
    """Show the settings that no other one beats, and the best with its reason."""
    table = Table("setting", "answers/s", "p50 ms", "p99 ms", "CPU ms", "")
    on_frontier = frontier(found.points)
    for point in sorted(found.points, key=lambda point: point.rank, reverse=True):
        marks = ["own"] * (point.setting == found.own) + ["frontier"] * (point in on_frontier)
        summary = point.summary
        table.add_row(
            str(point.setting),
            f"{summary.throughput:.1f}",
            f"{summary.latency_ms['p50']:.1f}",
            f"{point.p99_ms:.1f}",
            f"{summary.cpu_ms:.2f}" if summary.cpu_ms is not None else "",
            ", ".join(marks),
            style="" if point.is_allowed else "dim",
        )
    output.print(table)
    output.print(escape(found.reason), soft_wrap=True)
    for line in found.left_out:
        messages.print(f"[yellow]left out:[/] {escape(line)}", soft_wrap=True)
