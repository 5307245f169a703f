"""Verbs of the images: prepare, stats, leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import Json, Overrides, RecipeFile, print_json

data = typer.Typer(no_args_is_help=True, help="Prepare images, measure them, look for leaks.")
app.add_typer(data, name="data", rich_help_panel="The lab")

Share = Annotated[float, typer.Option(min=0, max=0.9, help="Share of each class.")]


@data.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="A folder <class>/*, or a list: .txt or .csv.")],
    out: Annotated[Path, typer.Argument(help="The new folder, <split>/<class>/*.")],
    val: Share = 0.1,
    test: Share = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same splits.")] = 0,
    copy: Annotated[bool, typer.Option("--copy", help="Copy instead of hard links.")] = False,
    as_json: Json = False,
) -> None:
    """Split images into train, val and test, stratified by class."""
    from marina import display
    from marina.train.preparation import prepare_folder

    made = prepare_folder(source, out, {"val": val, "test": test}, seed, copy=copy)
    if as_json:
        print_json(made.as_dict())
    else:
        display.prepared(made)


@data.command()
def stats(
    recipe: RecipeFile,
    write: Annotated[
        bool, typer.Option("--write", help="Put mean and std into the recipe's file.")
    ] = False,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
    as_json: Json = False,
) -> None:
    """Tell mean and std, classes, sizes, and which files are damaged, double or leaked."""
    from marina import display
    from marina.recipe import read_recipe
    from marina.train.statistics import measure, write_mean_and_std

    found = measure(read_recipe(recipe, tuple(overrides)))
    if write:
        write_mean_and_std(recipe, found)
    if as_json:
        print_json(found.as_dict())
    else:
        display.statistics(found)


@data.command()
def leaks(
    recipe: RecipeFile,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
    as_json: Json = False,
) -> None:
    """Look for images that lie in more than one split; exit code 3 if there are any."""
    from marina import display
    from marina.errors import DataError
    from marina.recipe import read_recipe
    from marina.train.statistics import find_leaks

    found = find_leaks(read_recipe(recipe, tuple(overrides)).data)
    if as_json:
        print_json(found)
    else:
        display.leaks(found)
    if found:
        raise typer.Exit(DataError.exit_code)
