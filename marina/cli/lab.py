"""Verbs of the lab: train, evaluate, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import (
    Device,
    DeviceChoice,
    Json,
    Overrides,
    RecipeFile,
    RunFolder,
    SplitChoice,
    print_json,
)
from marina.export.format import Format
from marina.progress import console


@app.command(rich_help_panel="The lab")
def train(
    recipe: RecipeFile,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where the run goes. Default: runs/<name>/<timestamp>.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --run-dir, or the newest unfinished one."
        ),
    ] = False,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Train a recipe into a new run, or go on with one."""
    from marina.recipe import read_recipe
    from marina.train.training import train as train_recipe

    run = train_recipe(read_recipe(recipe, tuple(overrides)), run_dir, resume=resume)
    typer.echo(run.folder)


@app.command(rich_help_panel="The lab")
def evaluate(
    run: RunFolder,
    split: Annotated[SplitChoice, typer.Option(help="Which images.")] = SplitChoice.test,
    compare: Annotated[
        Path | None, typer.Option(metavar="RUN2", help="Tell whether this run is really better.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="First fit a temperature on the val images.")
    ] = False,
    device: Device = DeviceChoice.cpu,
    as_json: Json = False,
) -> None:
    """Score a run on a split: accuracy, classes, calibration, mistakes; writes an HTML report."""
    from marina import display
    from marina.evaluation.calibration import calibrate as fit
    from marina.evaluation.comparison import compare as compare_runs
    from marina.evaluation.report import make_report, write_report
    from marina.train.evaluation import evaluate as evaluate_run
    from marina.train.run import Run

    found = Run.find(run)
    other = Run.find(compare) if compare else None
    if calibrate:
        fit(found, device)
    evaluation = evaluate_run(found, split.value, device)
    comparison = compare_runs(found, evaluation, other, device) if other else None
    report = make_report(found, split.value, evaluation, comparison)
    if as_json:
        print_json({**report.as_dict(), **evaluation.as_dict()})
    else:
        display.evaluation(report)
    console.print(f"report: {write_report(report)}", soft_wrap=True, highlight=False)


@app.command(rich_help_panel="The lab")
def export(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="Where the model goes. Default: in RUN.")] = None,
    kind: Annotated[
        Format | None,
        typer.Option("--format", help="Default: what is served, which `marina archive` packs."),
    ] = None,
) -> None:
    """Export a run and prove on real images that it answers as the network does."""
    from marina import display
    from marina.export.writers import default_file
    from marina.export.writers import export as export_run
    from marina.train.run import Run

    found = Run.find(run)
    display.parity(export_run(found, kind, out))
    typer.echo(out or default_file(found, kind))
