"""Tables of rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marina.display.console import output

if TYPE_CHECKING:
    from marina.rollout.journal import Event
    from marina.rollout.rollout import Rollout

COLORS = {"passed": "green", "breached": "red", "open": "yellow", "no data": "dim"}


def rollout_status(rollout: Rollout) -> Group:
    """Give where a rollout stands: phase, split, each gate with its evidence, the verdict."""
    spec, evidence = rollout.spec, rollout.evidence
    split = ", ".join(f"{version} {percent}%" for version, percent in rollout.split.items())
    step = f"step {rollout.step + 1} of {len(spec.steps)}"
    table = Table("gate", "", "verdict", "evidence", "requests")
    for each in evidence:
        color = COLORS[each.status]
        table.add_row(
            each.gate,
            f"[{color}]{each.status}",
            each.verdict,
            escape(each.sentence),
            f"{each.requests:,}",
        )
    return Group(
        Text(f"{spec.model}: {spec.baseline} → {spec.candidate}, {rollout.phase}, {step}; {split}"),
        table,
        Text(rollout.split_check().sentence),
        Text(rollout.verdict, style="bold"),
    )


def rollout_history(events: Sequence[Event]) -> None:
    """Show what was decided when, and why."""
    table = Table("when", "step", "action", "why")
    for event in events:
        if event["event"] in {"decided", "commanded", "refused"}:
            when = datetime.fromtimestamp(event["at"]).astimezone()
            step = str(event["step"] + 1) if "step" in event else ""
            action = event["action"] + (" (refused)" if event["event"] == "refused" else "")
            table.add_row(f"{when:%Y-%m-%d %H:%M:%S}", step, action, escape(event["reason"]))
    output.print(table)
