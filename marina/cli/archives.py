"""Verbs of archives: archive, inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import Json, RunFolder, StoreFolder, print_json
from marina.progress import console


@app.command(rich_help_panel="Archives")
def archive(
    run: RunFolder,
    version: Annotated[str, typer.Option(help="Version of the model, such as 1.0.")],
    model_store: StoreFolder = Path("model_store"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite that version.")] = False,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY", help="Sign it with this Ed25519 private key in PEM."),
    ] = None,
) -> None:
    """Pack a run into model_store/<name>-<version>.mar; exports it first if need be."""
    from marina.archive.archive import archive as archive_run
    from marina.archive.signature import read_private_key
    from marina.archive.store import ModelStore
    from marina.export.torchscript import export as export_run
    from marina.export.torchscript import is_exported
    from marina.train.run import Run

    key = read_private_key(sign) if sign else None
    found = Run.find(run)
    store = ModelStore(model_store)
    store.refuse_overwrite(found.recipe.name, version, force=force)
    if not is_exported(found):
        export_run(found)
    entry = archive_run(found, version, store, force=force, key=key)
    console.print(f"SHA-256 {entry.sha256}")
    typer.echo(model_store / entry.file)


@app.command(rich_help_panel="Archives")
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE.mar")],
    as_json: Json = False,
) -> None:
    """Show what is inside a .mar and verify its digests."""
    from marina import display
    from marina.archive.inspection import inspect as inspect_file

    inspection = inspect_file(file)
    if as_json:
        print_json(inspection.as_dict())
    else:
        display.inspection(inspection)
    if inspection.faults:
        raise typer.Exit(1)
