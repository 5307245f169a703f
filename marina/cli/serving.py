"""Verbs of a running server: serve, predict, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import (
    DrainTimeout,
    GrpcManagementPort,
    GrpcPort,
    Json,
    LogFolder,
    ManagementPort,
    MetricsPort,
    RestPort,
    StoreFolder,
    print_json,
)
from marina.errors import ClientError
from marina.progress import console


@app.command(rich_help_panel="Serving")
def serve(
    archives: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]FILE.mar", help="What to serve. Default: all of the model store."
        ),
    ] = None,
    model_store: StoreFolder = Path("model_store"),
    log_dir: LogFolder = Path("logs"),
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Copy TorchServe's log to stderr as well.")
    ] = False,
    rest_port: RestPort = 8080,
    grpc_port: GrpcPort = 7070,
    management_port: ManagementPort = 8081,
    grpc_management_port: GrpcManagementPort = 7071,
    metrics_port: MetricsPort = 8082,
    drain_timeout: DrainTimeout = 30.0,
) -> None:
    """Serve archives until Ctrl-C or SIGTERM; ready only when the golden images are answered."""
    from marina import display
    from marina.serve import ServeConfig, resolve, running

    config = ServeConfig(
        model_store=model_store,
        rest_port=rest_port,
        grpc_port=grpc_port,
        management_port=management_port,
        grpc_management_port=grpc_management_port,
        metrics_port=metrics_port,
        drain_timeout_s=drain_timeout,
    )
    models = resolve(archives or [], model_store)
    with running(
        config, models, log_dir=log_dir, foreground=foreground, on_event=console.print
    ) as server:
        display.server(server)
        server.wait()


@app.command(rich_help_panel="Serving")
def predict(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Files, folders, globs.")],
    url: Annotated[
        str | None,
        typer.Option(help="Default: http://127.0.0.1:8080, or 127.0.0.1:7070 with --grpc."),
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "resnet",
    version: Annotated[str | None, typer.Option(help="Default: the server's default.")] = None,
    grpc: Annotated[bool, typer.Option("--grpc", help="Ask over gRPC.")] = False,
    top_k: Annotated[int | None, typer.Option(help="Classes to show.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Classify images on a running server; exits with 8 if any of them failed."""
    from marina import display
    from marina.predict import find_images, predict_each

    outcomes = predict_each(find_images(images), url, model, version, grpc=grpc, top_k=top_k)
    if as_json:
        print_json([outcome.as_dict() for outcome in outcomes])
    else:
        display.outcomes(outcomes)
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        raise typer.Exit(ClientError.exit_code)


@app.command(rich_help_panel="Serving")
def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the table.")] = False,
    model_store: StoreFolder = Path("model_store"),
    log_dir: LogFolder = Path("logs"),
    rest_port: RestPort = 8080,
    grpc_port: GrpcPort = 7070,
    management_port: ManagementPort = 8081,
    grpc_management_port: GrpcManagementPort = 7071,
    metrics_port: MetricsPort = 8082,
) -> None:
    """Run the main job on scikit-learn's digits: train, export, archive, serve, verify."""
    from marina.demo import run_demo
    from marina.serve import ServeConfig

    config = ServeConfig(
        model_store=model_store,
        rest_port=rest_port,
        grpc_port=grpc_port,
        management_port=management_port,
        grpc_management_port=grpc_management_port,
        metrics_port=metrics_port,
    )
    run_demo(config, log_dir, once=once)
