"""What `marina data` found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from marina.display.console import output

if TYPE_CHECKING:
    from marina.train.preparation import Prepared
    from marina.train.statistics import Statistics


def prepared(result: Prepared) -> None:
    """Show how many images each split has, and what was found twice."""
    _counts(result.counts)
    _groups("kept in one split, being the same image", result.duplicates)
    _groups("the same image in several classes", result.contradictions, "yellow")


def statistics(result: Statistics) -> None:
    """Show the figures, then the files that need a look."""
    _counts(result.counts)
    sizes = Table("shorter side", "images", title="Sizes")
    for side_px, count in result.sizes.items():
        sizes.add_row(f"{side_px} to {2 * side_px - 1} px", f"{count:,}")
    output.print(sizes)
    for file, damage in result.unreadable.items():
        output.print(f"[red]damaged[/] {escape(file)}: {escape(damage)}")
    _groups("twice in one split", result.duplicates)
    leaks(result.leaks)
    output.print(f"mean {list(result.mean)}\nstd  {list(result.std)}", highlight=False)


def leaks(groups: list[list[str]]) -> None:
    """Show the images that lie in several splits."""
    _groups("in several splits", groups, "red")
    if not groups:
        output.print("[green]no image lies in two splits[/]")


def _counts(counts: dict[str, dict[str, int]]) -> None:
    labels = list(dict.fromkeys(label for split in counts.values() for label in split))
    table = Table("class", *counts, title="Images")
    for label in labels:
        table.add_row(escape(label), *(f"{split.get(label, 0):,}" for split in counts.values()))
    table.add_section()
    table.add_row("all", *(f"{sum(split.values()):,}" for split in counts.values()))
    output.print(table)


def _groups(title: str, groups: list[list[str]], style: str = "default") -> None:
    for group in groups:
        output.print(f"[{style}]{title}[/]: {escape(', '.join(group))}")
