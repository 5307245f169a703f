"""The family `marina runs`: list, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import Json, print_json
from marina.errors import TrainError
from marina.progress import console

runs = typer.Typer(help="What was trained, and what differs.", invoke_without_command=True)
app.add_typer(runs, name="runs", rich_help_panel="The lab")


@runs.callback()
def runs_alone(context: typer.Context) -> None:
    """List runs where no verb is given."""
    if context.invoked_subcommand is None:
        list_()


@runs.command("list")
def list_(
    root: Annotated[Path, typer.Argument(help="Folder to look below.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs with their best metrics."""
    from marina import display
    from marina.evaluation.runs import list_runs

    found = list_runs(root)
    if as_json:
        print_json([entry.as_dict() for entry in found])
    else:
        display.runs(found)


@runs.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Two or more.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw their learning curves.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what differs between runs in recipe and result."""
    from marina import display
    from marina.evaluation import plots
    from marina.evaluation.runs import compare_runs
    from marina.train.run import Run

    if len(folders) < 2:
        raise TrainError("give two runs or more to compare; `marina runs list` names them")
    comparison = compare_runs([Run.find(folder) for folder in folders])
    if as_json:
        print_json(comparison.as_dict())
    else:
        display.run_comparison(comparison)
    if plot:
        plots.learning_curves(comparison.curves, plot)
        console.print(f"plot: {plot}", soft_wrap=True, highlight=False)
