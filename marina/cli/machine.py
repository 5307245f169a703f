"""Verbs of this machine: doctor, env."""

from __future__ import annotations

import typer

from marina.cli.app import app
from marina.cli.options import Json, print_json


@app.command(rich_help_panel="This machine")
def doctor(as_json: Json = False) -> None:
    """Check this machine: Python, torch, GPUs, Java, Envoy, ports, disk, memory, threads."""
    from marina import display
    from marina.doctor import examine

    findings = examine()
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        display.findings(findings)
    if any(finding.fix for finding in findings):
        raise typer.Exit(1)


@app.command(rich_help_panel="This machine")
def env() -> None:
    """Print shell lines that put the Java runtime at hand: eval "$(marina env)"."""
    from marina.serve.java import java_home

    typer.echo(f"export JAVA_HOME='{java_home()}'")
