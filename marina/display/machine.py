"""What was found of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from marina.display.console import output

if TYPE_CHECKING:
    from marina.doctor import Finding


def findings(results: list[Finding]) -> None:
    """Show what was found of the machine, and a fix beside each problem."""
    table = Table("", "what", "found", "fix")
    for finding in results:
        mark = "[red]✗" if finding.fix else "[green]✓"
        table.add_row(mark, finding.name, escape(finding.found), escape(finding.fix or ""))
    output.print(table)
