"""Verbs that take Marina elsewhere: bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import StoreFolder
from marina.progress import console


@app.command(rich_help_panel="Serving")
def bundle(
    target: Annotated[Path, typer.Argument(help="A new folder.")],
    model_store: StoreFolder = Path("model_store"),
    wheels: Annotated[
        Path | None,
        typer.Option(help="Take the wheels of this folder. Default: download what the lock has."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="The host has the packages that have no wheel here.")
    ] = False,
) -> None:
    """Pack all that a host without a network needs: wheels, archives, config, unit, checksums.

    On the host, `install.sh [PREFIX]` verifies and installs it. With CUDA's libraries the wheels
    are some gigabytes; --wheels takes others, such as PyTorch's own for CPUs.
    """
    from marina.archive.store import ModelStore
    from marina.bundle import download_wheels, make_bundle

    def collect(folder: Path) -> None:
        if wheels is None:
            download_wheels(Path(), folder)
        else:
            shutil.copytree(wheels, folder, ignore=lambda _, names: [
                name for name in names if not name.endswith(".whl")
            ])  # fmt: skip

    made = make_bundle(target, ModelStore(model_store), collect, partial=partial)
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    console.print(f"{made}: {size / 1e6:,.0f} MB, {(made / 'install.sh').name} installs it")
    typer.echo(made)
