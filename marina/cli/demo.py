"""Verbs of the demonstrations: demo, demo rollout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marina.cli.app import app
from marina.cli.options import (
    GatewayMetricsPort,
    GrpcManagementPort,
    GrpcPort,
    LogFolder,
    ManagementPort,
    MetricsPort,
    RestPort,
    StoreFolder,
)

if TYPE_CHECKING:
    from marina.serve import ServeConfig

demo = typer.Typer()
app.add_typer(demo, name="demo", rich_help_panel="Serving")


@demo.callback(invoke_without_command=True)
def main_job(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End after the table.")] = False,
    model_store: StoreFolder = Path("model_store"),
    log_dir: LogFolder = Path("logs"),
    rest_port: RestPort = 8080,
    grpc_port: GrpcPort = 7070,
    management_port: ManagementPort = 8081,
    grpc_management_port: GrpcManagementPort = 7071,
    metrics_port: MetricsPort = 8082,
    gateway_metrics_port: GatewayMetricsPort = 9901,
) -> None:
    """Run the main job on scikit-learn's digits: train, export, archive, serve, verify."""
    if context.invoked_subcommand is not None:
        return
    from marina.demo import run_demo

    ports = (rest_port, grpc_port, management_port, grpc_management_port, metrics_port)
    run_demo(_config(model_store, *ports, gateway_metrics_port), log_dir, once=once)


@demo.command("rollout")
def rollouts(
    rest_port: RestPort = 8080,
    grpc_port: GrpcPort = 7070,
    management_port: ManagementPort = 8081,
    grpc_management_port: GrpcManagementPort = 7071,
    metrics_port: MetricsPort = 8082,
    gateway_metrics_port: GatewayMetricsPort = 9901,
) -> None:
    """Roll out a wrong, a slower and a better candidate under live load, and show what happens."""
    from marina.demo import run_rollouts

    ports = (rest_port, grpc_port, management_port, grpc_management_port, metrics_port)
    run_rollouts(_config(Path("model_store"), *ports, gateway_metrics_port))


def _config(
    model_store: Path,
    rest_port: int,
    grpc_port: int,
    management_port: int,
    grpc_management_port: int,
    metrics_port: int,
    gateway_metrics_port: int,
) -> ServeConfig:
    from marina.serve import GatewayOptions, ServeConfig

    return ServeConfig(
        model_store=model_store,
        gateway=GatewayOptions(gateway_metrics_port),
        rest_port=rest_port,
        grpc_port=grpc_port,
        management_port=management_port,
        grpc_management_port=grpc_management_port,
        metrics_port=metrics_port,
    )
