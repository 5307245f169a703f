"""Verbs that say what a running server serves: models list, register, switch and so on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marina.cli.app import app
from marina.cli.options import Json, TokenFile, chosen_token, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from marina.client.management import Manager

models = typer.Typer(
    help="What a running server serves: list, describe, register, scale, switch…",
    no_args_is_help=True,
)
app.add_typer(models, name="models", rich_help_panel="Serving")

Name = Annotated[str, typer.Argument(help="Of the model.")]
Version = Annotated[str, typer.Argument(help="Of the model, or an alias in the store.")]
Url = Annotated[
    str | None,
    typer.Option(
        help="The management side. Default: 127.0.0.1 at MARINA_MANAGEMENT_PORT (8081), or at "
        "MARINA_GRPC_MANAGEMENT_PORT (7071) with --grpc."
    ),
]
Grpc = Annotated[bool, typer.Option("--grpc", help="Ask over gRPC.")]
Wait = Annotated[
    bool,
    typer.Option("--wait/--no-wait", help="End when the change has taken effect, or failed."),
]
WaitReady = Annotated[
    bool, typer.Option("--wait", help="End when every worker is ready; Ctrl-C gives up.")
]


@models.command("list")
def list_models(
    url: Url = None,
    grpc: Grpc = False,
    token_file: TokenFile = None,
    wait: WaitReady = False,
    as_json: Json = False,
) -> None:
    """Show every version: default, workers, batch, delay, queue, device, digest, accuracy."""
    _show(lambda manager: manager.models(), url, grpc, token_file, wait=wait, as_json=as_json)


@models.command()
def describe(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Default: all of them.")] = None,
    url: Url = None,
    grpc: Grpc = False,
    token_file: TokenFile = None,
    wait: WaitReady = False,
    as_json: Json = False,
) -> None:
    """Show one model's versions, or one of them."""

    def ask(manager: Manager) -> Any:
        return manager.describe(name, version)

    _show(ask, url, grpc, token_file, wait=wait, as_json=as_json)


@models.command()
def register(
    name: Name,
    version: Version,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes. Default: as the archive asks.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Most requests in one pass. Default: likewise.")
    ] = None,
    max_batch_delay: Annotated[
        int | None, typer.Option(min=0, help="Wait for mates, in ms. Default: likewise.")
    ] = None,
    url: Url = None,
    grpc: Grpc = False,
    token_file: TokenFile = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Serve one more version of the store; done when its golden images are answered rightly."""

    def change(manager: Manager) -> str:
        return manager.register(
            name,
            version,
            workers=workers,
            batch_size=batch_size,
            max_batch_delay_ms=max_batch_delay,
            wait=wait,
        )

    _change(f"register {name} {version}", change, url, grpc, token_file, as_json=as_json)


@models.command()
def scale(
    name: Name,
    version: Version,
    workers: Annotated[int, typer.Argument(min=0, help="Processes; 0 drains the version first.")],
    url: Url = None,
    grpc: Grpc = False,
    token_file: TokenFile = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Change how many workers a version has."""

    def change(manager: Manager) -> str:
        return manager.scale(name, version, workers, wait=wait)

    _change(f"scale {name} {version}", change, url, grpc, token_file, as_json=as_json)


@models.command("set-default")
def set_default(
    name: Name,
    version: Version,
    url: Url = None,
    grpc: Grpc = False,
    token_file: TokenFile = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Let a version answer whoever names none."""

    def change(manager: Manager) -> str:
        return manager.set_default(name, version, wait=wait)

    _change(f"set-default {name} {version}", change, url, grpc, token_file, as_json=as_json)


@models.command()
def unregister(
    name: Name,
    version: Version,
    last: Annotated[
        bool, typer.Option("--last", help="Allow it of the only version: the model goes.")
    ] = False,
    url: Url = None,
    grpc: Grpc = False,
    token_file: TokenFile = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Serve a version no more, once its requests are answered."""

    def change(manager: Manager) -> str:
        return manager.unregister(name, version, last=last, wait=wait)

    _change(f"unregister {name} {version}", change, url, grpc, token_file, as_json=as_json)


@models.command()
def switch(
    name: Name,
    version: Version,
    url: Url = None,
    grpc: Grpc = False,
    token_file: TokenFile = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Put a version in the place of the default, with no request lost; restore on any failure."""

    def change(manager: Manager) -> str:
        return manager.switch(name, version, wait=wait)

    _change(f"switch {name} {version}", change, url, grpc, token_file, as_json=as_json)


@models.command()
def policy(
    name: Name,
    policy: Annotated[str, typer.Argument(help="latest, specific, all or keep:N.")],
    url: Url = None,
    grpc: Grpc = False,
    token_file: TokenFile = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Say which versions of a model are kept, now and at the next start."""

    def change(manager: Manager) -> str:
        return manager.set_policy(name, policy, wait=wait)

    _change(f"policy {name}", change, url, grpc, token_file, as_json=as_json)


@app.command(rich_help_panel="Serving")
def token(
    management: Annotated[
        bool, typer.Option("--management", help="The one for management, not for predictions.")
    ] = False,
    token_file: TokenFile = None,
) -> None:
    """Print the token that a server asks for: curl -H "Authorization: Bearer $(marina token)"."""
    from marina.client.token import read_key_file

    file = chosen_token(token_file) or Path("logs") / "key_file.json"
    typer.echo(read_key_file(file, "management" if management else "inference"))


def _show(
    ask: Callable[[Manager], Any],
    url: str | None,
    grpc: bool,
    token_file: Path | None,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    from marina import display
    from marina.client.management import connect
    from marina.progress import console, until

    with connect(url, grpc=grpc, token=chosen_token(token_file)) as manager:
        rows = ask(manager)
        if wait:
            with console.status("waiting for the workers"):
                until(lambda: all(row.ready_workers >= row.workers for row in ask(manager)))
            rows = ask(manager)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        display.models(rows)


def _change(
    title: str,
    change: Callable[[Manager], str],
    url: str | None,
    grpc: bool,
    token_file: Path | None,
    *,
    as_json: bool,
) -> None:
    from marina.client.management import connect
    from marina.display.models import followed

    with connect(url, grpc=grpc, token=chosen_token(token_file)) as manager:
        said = followed(title, manager, change)
        if as_json:
            progress = manager.progress()
            print_json(asdict(progress) if progress else {"title": title, "step": said})
        else:
            typer.echo(said)
