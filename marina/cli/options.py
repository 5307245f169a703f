"""Options and arguments that several verbs share."""

from __future__ import annotations

import inspect
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from marina.client.management import ManagementClient


class SplitChoice(StrEnum):
    """The splits, as a choice that the shell can complete."""

    train = "train"
    val = "val"
    test = "test"


class DeviceChoice(StrEnum):
    """Where a network runs, as a choice that the shell can complete."""

    cpu = "cpu"
    cuda = "cuda"
    auto = "auto"


RecipeFile = Annotated[Path, typer.Argument(help="A recipe, such as models/resnet.yaml.")]
RunFolder = Annotated[
    Path, typer.Argument(help="A run's folder; runs/<name> means its newest finished run.")
]
Device = Annotated[
    DeviceChoice, typer.Option(help="Where the network runs; auto is cuda where there is one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="K=V", help="Override a key: train.epochs=3.")
]
StoreFolder = Annotated[Path, typer.Option("--model-store", help="Folder of the .mar files.")]
PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="PUB", help="Ed25519 public key in PEM; several: any will do."),
]
RequiredKeys = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PUB",
        envvar="MARINA_REQUIRE_SIGNATURE",
        help="Refuse archives that this Ed25519 public key did not sign; several: any will do.",
    ),
]
LogFolder = Annotated[Path, typer.Option("--log-dir", help="Folder of torchserve.log, serve.json.")]
RestPort = Annotated[int, typer.Option(envvar="MARINA_REST_PORT", help="REST inference.")]
GrpcPort = Annotated[int, typer.Option(envvar="MARINA_GRPC_PORT", help="gRPC inference.")]
ManagementPort = Annotated[
    int, typer.Option(envvar="MARINA_MANAGEMENT_PORT", help="REST management.")
]
GrpcManagementPort = Annotated[
    int, typer.Option(envvar="MARINA_GRPC_MANAGEMENT_PORT", help="gRPC management.")
]
ManagementUrl = Annotated[
    str | None,
    typer.Option(help="The management side. Default: 127.0.0.1 at MARINA_MANAGEMENT_PORT (8081)."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="MARINA_TOKEN_FILE",
        help="TorchServe's key_file.json. Default: logs/key_file.json, if there is one.",
    ),
]
MetricsPort = Annotated[int, typer.Option(envvar="MARINA_METRICS_PORT", help="Prometheus metrics.")]
GatewayMetricsPort = Annotated[
    int,
    typer.Option(envvar="MARINA_GATEWAY_METRICS_PORT", help="Prometheus metrics of Envoy."),
]
DrainTimeout = Annotated[
    float, typer.Option(help="Longest wait for requests in flight at the end, in seconds.")
]


def with_options_of(run: Callable[..., None], verb: Callable[..., object]) -> Callable[..., None]:
    """Make a verb with the arguments of one function and, behind them, the options of another.

    Args:
        run: Has the options, as keywords, and takes all arguments.
        verb: Has the arguments, the name and the help.
    """
    own, shared = (
        list(inspect.signature(function, eval_str=True).parameters.values())
        for function in (verb, run)
    )
    options = [each for each in shared if each.kind is not each.VAR_KEYWORD]
    parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in (*own, *options)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    return run


def chosen_token(file: Path | None) -> Path | None:
    """Give the token file that is meant: the one that is named, or that of a server run here."""
    here = Path("logs") / "key_file.json"
    return file or (here if here.exists() else None)


def connect_management(url: str | None, token_file: Path | None) -> ManagementClient:
    """Open a client of the management side, of a server run here unless another is named."""
    import os

    from marina.client.management import ManagementClient

    port = os.environ.get("MARINA_MANAGEMENT_PORT", "8081")
    return ManagementClient(url or f"http://127.0.0.1:{port}", token=chosen_token(token_file))


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
