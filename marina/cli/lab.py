"""Verbs of the lab: train, evaluate, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import Json, Overrides, RecipeFile, RunFolder, SplitChoice, print_json


@app.command(rich_help_panel="The lab")
def train(
    recipe: RecipeFile,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where the run goes. Default: runs/<name>/<timestamp>.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Train a recipe into a new run."""
    from marina.recipe import read_recipe
    from marina.train.training import train as train_recipe

    run = train_recipe(read_recipe(recipe, tuple(overrides)), run_dir)
    typer.echo(run.folder)


@app.command(rich_help_panel="The lab")
def evaluate(
    run: RunFolder,
    split: Annotated[SplitChoice, typer.Option(help="Which images.")] = SplitChoice.test,
    as_json: Json = False,
) -> None:
    """Tell a run's accuracy on a split, and what it got wrong."""
    from marina import display
    from marina.train.evaluation import evaluate as evaluate_run
    from marina.train.run import Run

    evaluation = evaluate_run(Run.find(run), split.value)
    if as_json:
        print_json(evaluation.as_dict())
    else:
        display.evaluation(evaluation)


@app.command(rich_help_panel="The lab")
def export(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="Where the model goes. Default: RUN/model.pt.")
    ] = None,
) -> None:
    """Export a run to TorchScript and prove that it answers as the network does."""
    from marina import display
    from marina.export.torchscript import export as export_run
    from marina.train.run import Run

    found = Run.find(run)
    display.parity(export_run(found, out))
    typer.echo(out or found.model)
