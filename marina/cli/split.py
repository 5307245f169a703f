"""Verbs that share a model's traffic out among its versions: split set, show, clear, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import (
    Json,
    LogFolder,
    ManagementUrl,
    TokenFile,
    connect_management,
    print_json,
)
from marina.errors import SplitError

split = typer.Typer(
    help="Share a model's unversioned requests out among its versions.", no_args_is_help=True
)
app.add_typer(split, name="split", rich_help_panel="Serving")

Name = Annotated[str, typer.Argument(help="Of the model.")]


@split.command("set")
def set_split(
    name: Name,
    weights: Annotated[
        list[str], typer.Argument(metavar="VERSION=PERCENT…", help="1.0=90 2.0=10; 100 in all.")
    ],
    sticky_header: Annotated[
        str | None,
        typer.Option(help="Same value, same version: x-user-id. Over gRPC, metadata."),
    ] = None,
    shadow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION=PERCENT", help="Copy so many of all requests to it, for the log."
        ),
    ] = None,
    force_header: Annotated[
        str | None, typer.Option(help="Let testers name a version in it: x-arm.")
    ] = None,
    url: ManagementUrl = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Replace a model's split; in force within a second, and kept over a restart.

    Refused when a version is not ready. A raised weight moves no user back.
    """
    from marina import display

    with connect_management(url, token_file) as manager:
        made = manager.set_split(
            name,
            _percents(weights),
            sticky_header=sticky_header,
            force_header=force_header,
            shadow=_percents(shadow or []),
        )
    print_json(made) if as_json else display.splits([made])


@split.command("show")
def show(
    name: Annotated[str | None, typer.Argument(help="Of the model. Default: all.")] = None,
    url: ManagementUrl = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Show the splits that are in force."""
    from marina import display

    with connect_management(url, token_file) as manager:
        splits = [each for each in manager.splits() if name in {None, each["model"]}]
    if name is not None and not splits:
        raise SplitError(f"{name} has no split: its default version answers")
    print_json(splits) if as_json else display.splits(splits)


@split.command("clear")
def clear(name: Name, url: ManagementUrl = None, token_file: TokenFile = None) -> None:
    """Send all unversioned requests of a model to its default version again."""
    with connect_management(url, token_file) as manager:
        manager.clear_split(name)
    typer.echo(f"{name}: the default version answers")


@split.command("verify")
def verify(name: Name, log_dir: LogFolder = Path("logs"), as_json: Json = False) -> None:
    """Hold the traffic since the split's last change against it; exits with 9 on a mismatch."""
    from marina import display
    from marina.rollout.verification import verify_logged_split

    check = verify_logged_split(log_dir, name)
    print_json(check.as_dict()) if as_json else display.split_check(check)
    if check.mismatch:
        raise typer.Exit(SplitError.exit_code)


def _percents(arguments: list[str]) -> dict[str, float]:
    from marina.gateway.split import parse_shares, percent

    return {version: percent(slots) for version, slots in parse_shares(arguments).items()}
