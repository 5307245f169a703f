"""Verbs that say what a running server serves: models list, register, switch and so on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marina.cli.app import app
from marina.cli.options import Json, TokenFile, chosen_token, print_json, with_options_of

if TYPE_CHECKING:
    from marina.client import ModelStatus
    from marina.client.operations import Manager

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


Look = Callable[["Manager"], "list[ModelStatus]"]
Change = Callable[["Manager", bool], str]


def _looks(verb: Callable[..., Look]) -> Callable[..., None]:
    """Make a verb of a function that gives what to ask; the options of all such are added."""

    def run(
        *,
        url: Url = None,
        grpc: Grpc = False,
        token_file: TokenFile = None,
        wait: WaitReady = False,
        as_json: Json = False,
        **given: Any,
    ) -> None:
        from marina import display
        from marina.client.management import connect
        from marina.progress import console, until

        ask = verb(**given)
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

    return with_options_of(run, verb)


def _changes(verb: Callable[..., Change]) -> Callable[..., None]:
    """Make a verb of a function that gives what to change; the options of all such are added."""

    def run(
        *,
        url: Url = None,
        grpc: Grpc = False,
        token_file: TokenFile = None,
        wait: Wait = True,
        as_json: Json = False,
        **given: Any,
    ) -> None:
        from marina.client.management import connect
        from marina.display.models import followed

        change = verb(**given)
        words = (verb.__name__.replace("_", "-"), given["name"], given.get("version"))
        with connect(url, grpc=grpc, token=chosen_token(token_file)) as manager:
            said = followed(" ".join(filter(None, words)), manager, lambda m: change(m, wait))
            if as_json:
                progress = manager.progress()
                print_json(asdict(progress) if progress else {"title": words[0], "step": said})
            else:
                typer.echo(said)

    return with_options_of(run, verb)


@models.command("list")
@_looks
def list_models() -> Look:
    """Show every version: default, workers, batch, delay, queue, device, digest, accuracy."""
    return lambda manager: manager.models()


@models.command()
@_looks
def describe(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Default: all of them.")] = None,
) -> Look:
    """Show one model's versions, or one of them."""
    return lambda manager: manager.describe(name, version)


@models.command()
@_changes
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
) -> Change:
    """Serve one more version of the store; done when its golden images are answered rightly."""
    return lambda manager, wait: manager.register(
        name,
        version,
        workers=workers,
        batch_size=batch_size,
        max_batch_delay_ms=max_batch_delay,
        wait=wait,
    )


@models.command()
@_changes
def scale(
    name: Name,
    version: Version,
    workers: Annotated[int, typer.Argument(min=0, help="Processes; 0 drains the version first.")],
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Take away workers that are busy for longer than the server's drain timeout, too: "
            "the requests that they hold are lost.",
        ),
    ] = False,
) -> Change:
    """Change how many workers a version has."""
    return lambda manager, wait: manager.scale(name, version, workers, force=force, wait=wait)


@models.command("set-default")
@_changes
def set_default(name: Name, version: Version) -> Change:
    """Let a version answer whoever names none."""
    return lambda manager, wait: manager.set_default(name, version, wait=wait)


@models.command()
@_changes
def unregister(
    name: Name,
    version: Version,
    last: Annotated[
        bool, typer.Option("--last", help="Allow it of the only version: the model goes.")
    ] = False,
) -> Change:
    """Serve a version no more, once its requests are answered."""
    return lambda manager, wait: manager.unregister(name, version, last=last, wait=wait)


@models.command()
@_changes
def switch(name: Name, version: Version) -> Change:
    """Put a version in the place of the default, with no request lost; restore on any failure."""
    return lambda manager, wait: manager.switch(name, version, wait=wait)


@models.command()
@_changes
def policy(
    name: Name,
    policy: Annotated[str, typer.Argument(help="latest, specific, all or keep:N.")],
) -> Change:
    """Say which versions of a model are kept, now and at the next start."""
    return lambda manager, wait: manager.set_policy(name, policy, wait=wait)


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
