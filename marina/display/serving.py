"""What is served, and what it answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from marina.display.console import output

if TYPE_CHECKING:
    from marina.predict import Outcome
    from marina.serve import Server


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
    tokens = f"asks for the tokens in {running.token}" if running.token else "asks for no token"
    output.print(
        f"REST {running.rest_url}/predictions/<model>   gRPC {running.grpc_target}   "
        f"metrics {running.metrics_url}\n"
        f"management {running.management_url} (`marina models`, /ready)   {tokens}\n"
        f"logs in {running.log_dir}   Ctrl-C drains and stops",
        highlight=False,
    )
