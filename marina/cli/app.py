"""The command that every family of verbs hangs its own on."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="marina",
    help="From a folder of images to a verified TorchServe endpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
