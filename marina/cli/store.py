"""Verbs of the model store: store list, verify, prune, alias."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import Json, PublicKeys, StoreFolder, print_json
from marina.errors import ArchiveError
from marina.progress import console

store = typer.Typer(help="The model store: list, verify, prune, alias.", no_args_is_help=True)
app.add_typer(store, name="store", rich_help_panel="Archives")

Name = Annotated[str | None, typer.Argument(help="Of a model. Default: all of them.")]


@store.command("list")
def list_archives(
    name: Name = None,
    model_store: StoreFolder = Path("model_store"),
    as_json: Json = False,
) -> None:
    """Show what is in the store: versions, aliases, sizes, digests, accuracy."""
    from marina import display
    from marina.archive.listing import listing
    from marina.archive.store import ModelStore

    rows = listing(ModelStore(model_store), name)
    if as_json:
        print_json([row.as_dict() for row in rows])
    else:
        display.stored(rows)


@store.command()
def verify(
    name: Name = None,
    version: Annotated[str | None, typer.Argument(help="Of that model, or an alias.")] = None,
    key: PublicKeys = None,
    model_store: StoreFolder = Path("model_store"),
    as_json: Json = False,
) -> None:
    """Check digests, layout, manifests and, with --key, signatures; exits with 6 on a fault."""
    from marina import display
    from marina.archive.signature import read_public_key
    from marina.archive.store import ModelStore
    from marina.archive.verification import verify as verify_store

    keys = [read_public_key(file) for file in key or ()]
    results = verify_store(ModelStore(model_store), keys, name=name, version=version)
    if as_json:
        print_json([result.as_dict() for result in results])
    else:
        display.verified(results)
    if any(result.faults for result in results):
        raise typer.Exit(ArchiveError.exit_code)


@store.command()
def prune(
    name: Name = None,
    keep: Annotated[int, typer.Option(min=1, help="Highest versions of a model to keep.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    model_store: StoreFolder = Path("model_store"),
    as_json: Json = False,
) -> None:
    """Remove old versions; those with an alias, and those that are served, stay."""
    from marina.archive.pruning import superfluous
    from marina.archive.store import ModelStore

    found = ModelStore(model_store)
    entries = superfluous(found, keep, name)
    if not dry_run:
        found.remove(entries)
    if as_json:
        print_json([entry.file for entry in entries])
        return
    for entry in entries:
        typer.echo(entry.file)
    would = "would go" if dry_run else "removed"
    console.print(f"{len(entries)} {'archive' if len(entries) == 1 else 'archives'} {would}")


@store.command()
def alias(
    name: Annotated[str, typer.Argument(help="Of a model.")],
    alias: Annotated[str, typer.Argument(help="Such as stable or canary.")],
    version: Annotated[
        str | None, typer.Argument(help="What it shall stand for: a version or another alias.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away.")] = False,
    model_store: StoreFolder = Path("model_store"),
) -> None:
    """Let an alias stand for a version; without a version, say which one it stands for."""
    from marina.archive.store import ModelStore

    found = ModelStore(model_store)
    if remove:
        found.remove_alias(name, alias)
        return
    if version is not None:
        found.set_alias(name, alias, version)
    typer.echo(found.find(name, alias).version)
