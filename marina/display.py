"""Tables on stdout for people; what programs read is JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from marina.progress import console as messages

if TYPE_CHECKING:
    from marina.archive.inspection import Inspection
    from marina.doctor import Finding
    from marina.export.parity import Parity
    from marina.predict import Outcome
    from marina.serve import Server
    from marina.train.evaluation import Evaluation

output = Console()


def evaluation(result: Evaluation) -> None:
    """Show the accuracy and the images that were taken for another class."""
    rows = result.rows()
    wrong = [row for row in rows if row["truth"] != row["predicted"]]
    if wrong:
        table = Table("file", "truth", "predicted", "probability", title="Mistakes")
        for row in sorted(wrong, key=lambda row: -row["probability"])[:20]:
            table.add_row(row["file"], row["truth"], row["predicted"], f"{row['probability']:.1%}")
        output.print(table)
    output.print(f"accuracy {result.accuracy:.2%}: {len(rows) - len(wrong)} of {len(rows)} right")


def parity(result: Parity) -> None:
    """Show how near TorchScript's answers are to the network's."""
    messages.print(
        f"parity on {result.images} images: largest logit difference "
        f"{result.max_abs_logit_difference:.2g} (at most {result.atol:g}), "
        f"top-1 agreement {result.top1_agreement:.0%}"
    )


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


def findings(results: list[Finding]) -> None:
    """Show what was found of the machine, and a fix beside each problem."""
    table = Table("", "what", "found", "fix")
    for finding in results:
        mark = "[red]✗" if finding.fix else "[green]✓"
        table.add_row(mark, finding.name, escape(finding.found), escape(finding.fix or ""))
    output.print(table)


def outcomes(results: list[Outcome]) -> None:
    """Show each image's answer or its error."""
    table = Table("file", "answer", "ms")
    for outcome in results:
        answer = (
            f"[red]{escape(str(outcome.error))}"
            if outcome.error
            else escape(", ".join(f"{p.label} {p.probability:.1%}" for p in outcome.predictions))
        )
        table.add_row(escape(str(outcome.file)), answer, f"{outcome.latency_ms:.1f}")
    output.print(table)


def server(running: Server) -> None:
    """Show where a server listens and what it serves."""
    table = Table("model", "version", "file", title="Serving")
    for model in running.models:
        table.add_row(model.name, model.version, str(model.file))
    output.print(table)
    output.print(
        f"REST {running.rest_url}/predictions/<model>   gRPC {running.grpc_target}   "
        f"metrics {running.metrics_url}\nlogs in {running.log_dir}   Ctrl-C drains and stops",
        highlight=False,
    )
