"""Runs: all of them in a list, some of them side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

from marina.display.console import output

if TYPE_CHECKING:
    from marina.evaluation.runs import RunComparison, RunSummary

HEADINGS = ("finished", "epochs", "best", "val", "test", "images/s", "s")


def runs(found: list[RunSummary]) -> None:
    """Show a line a run, with its best metrics."""
    table = Table(Column("run", overflow="fold"), *HEADINGS)
    for entry in found:
        table.add_row(escape(entry.run), *_cells(entry))
    output.print(table)


def run_comparison(comparison: RunComparison) -> None:
    """Show results, then settings, with a column a run."""
    table = Table("", *(escape(entry.run) for entry in comparison.results))
    columns = [_cells(entry) for entry in comparison.results]
    for heading, *row in zip(HEADINGS, *columns, strict=True):
        table.add_row(heading, *row)
    table.add_section()
    for key, values in comparison.differences.items():
        table.add_row(escape(key), *(escape(str(value)) for value in values))
    output.print(table)
    if not comparison.differences:
        output.print("recipe, data and environment are the same")


def _cells(entry: RunSummary) -> list[str]:
    return [
        (entry.finished or "[yellow]not finished").removesuffix("+00:00"),
        _whole(entry.epochs),
        _whole(entry.best_epoch),
        _share(entry.val_accuracy),
        _share(entry.test_accuracy),
        _whole(entry.images_per_s),
        _whole(entry.seconds),
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
