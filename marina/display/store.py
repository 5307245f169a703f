"""What is in the model store, and whether it is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from marina.display.console import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marina.archive.listing import Row
    from marina.archive.verification import Verified


def stored(rows: Sequence[Row]) -> None:
    """Show the archives of a store."""
    table = Table("model", "version", "aliases", "MiB", "accuracy", "SHA-256", "created", "signed")
    for row in rows:
        entry = row.entry
        table.add_row(
            escape(entry.name),
            escape(entry.version),
            ", ".join(row.aliases),
            "[red]missing" if row.size_bytes is None else f"{row.size_bytes / 2**20:.1f}",
            "" if row.accuracy is None else f"{row.accuracy:.2%}",
            entry.sha256[:12],
            entry.created.partition("T")[0],
            "yes" if row.is_signed else "",
        )
    output.print(table)


def verified(results: Sequence[Verified]) -> None:
    """Show what was verified, and each fault on a line of its own."""
    table = Table("file", "signed by", "")
    for result in results:
        mark = "[red]not verified" if result.faults else "[green]verified"
        table.add_row(escape(result.file), (result.signed_by or "")[:16], mark)
    output.print(table)
    for result in results:
        for fault in result.faults:
            output.print(
                f"[bold red]fault:[/] {escape(f'{result.file}: {fault}')}",
                highlight=False,
                soft_wrap=True,
            )
