"""Options and arguments that several verbs share."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class SplitChoice(StrEnum):
    """The splits, as a choice that the shell can complete."""

    train = "train"
    val = "val"
    test = "test"


RecipeFile = Annotated[Path, typer.Argument(help="A recipe, such as models/resnet.yaml.")]
RunFolder = Annotated[
    Path, typer.Argument(help="A run's folder; runs/<name> means its newest finished run.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="K=V", help="Override a key: train.epochs=3.")
]
StoreFolder = Annotated[Path, typer.Option("--model-store", help="Folder of the .mar files.")]
LogFolder = Annotated[Path, typer.Option("--log-dir", help="Folder of torchserve.log, serve.json.")]
RestPort = Annotated[int, typer.Option(envvar="MARINA_REST_PORT", help="REST inference.")]
GrpcPort = Annotated[int, typer.Option(envvar="MARINA_GRPC_PORT", help="gRPC inference.")]
ManagementPort = Annotated[
    int, typer.Option(envvar="MARINA_MANAGEMENT_PORT", help="REST management.")
]
GrpcManagementPort = Annotated[
    int, typer.Option(envvar="MARINA_GRPC_MANAGEMENT_PORT", help="gRPC management.")
]
MetricsPort = Annotated[int, typer.Option(envvar="MARINA_METRICS_PORT", help="Prometheus metrics.")]
DrainTimeout = Annotated[
    float, typer.Option(help="Longest wait for requests in flight at the end, in seconds.")
]


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
