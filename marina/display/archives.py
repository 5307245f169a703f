"""What is inside an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from marina.display.console import output

if TYPE_CHECKING:
    from marina.archive.inspection import Inspection


def inspection(result: Inspection) -> None:
    """Show an archive's origin, image spec, labels and files, and whether they are verified."""
    provenance, image = result.provenance, result.config.get("image", {})
    test = provenance.get("evaluation") or {}
    facts = Table(show_header=False, title=f"{provenance['name']} {provenance['version']}")
    facts.add_row("SHA-256", result.sha256)
    facts.add_row("run", f"{provenance['source_run']}, finished {provenance['created']}")
    facts.add_row("commit", str(provenance["environment"].get("commit")))
    facts.add_row("test accuracy", f"{test['accuracy']:.2%}" if test else "not evaluated")
    facts.add_row("image", ", ".join(f"{key} {value}" for key, value in image.items()))
    facts.add_row("labels", f"{len(result.labels)}: {', '.join(result.labels[:10])}")
    facts.add_row("entry", str(result.manifest["model"]["handler"]))
    output.print(facts)
    files = Table("file", "bytes", "SHA-256", "", title="Files")
    for member in result.members:
        mark = f"[red]{member.fault}" if member.fault else "[green]ok"
        files.add_row(member.name, f"{member.size:,}", member.sha256[:16], mark)
    output.print(files)
    for fault in result.faults:
        output.print(f"[bold red]fault:[/] {escape(fault)}")
    output.print("[green]verified[/]" if not result.faults else "[red]not verified[/]")
