"""Splits, and whether the traffic obeys them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from marina.display.console import output

if TYPE_CHECKING:
    from marina.rollout.split import SplitCheck


def splits(shown: list[dict[str, Any]]) -> None:
    """Show splits, a line each."""
    if not shown:
        output.print("no splits: default versions answer")
        return
    table = Table("model", "weights", "sticky header", "shadow", "force header")
    for split in shown:
        table.add_row(
            split["model"],
            _percents(split["weights"]),
            split["sticky_header"] or "",
            _percents(split["shadow"]),
            split["force_header"] or "",
        )
    output.print(table)


def split_check(check: SplitCheck) -> None:
    """Show observed against declared shares, and say plainly what to make of it."""
    table = Table("version", "requests", "declared", "observed", "within")
    for arm in check.arms:
        within = f"{arm.low:.2%} to {arm.high:.2%}"
        table.add_row(
            arm.arm, f"{arm.requests:,}", f"{arm.declared:.2%}", f"{arm.observed:.2%}", within
        )
    output.print(table)
    output.print(f"[{'red' if check.mismatch else 'green'}]{check.sentence}[/]", highlight=False)


def _percents(shares: dict[str, float]) -> str:
    return "  ".join(f"{version}={share:g}" for version, share in shares.items())
