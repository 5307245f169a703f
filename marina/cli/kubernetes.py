"""Verbs of Kubernetes: k8s render."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import RecipeFile

k8s = typer.Typer(help="Kubernetes manifests of a recipe and a rollout.", no_args_is_help=True)
app.add_typer(k8s, name="k8s", rich_help_panel="Rollouts")


@k8s.callback()
def family() -> None:
    """Keep `render` a verb of its own."""


@k8s.command()
def render(
    recipe: RecipeFile,
    out: Annotated[Path, typer.Argument(help="Folder to write, such as docker/k8s.")],
    rollout: Annotated[
        Path | None, typer.Option(help="A rollout.yaml: two arms. Without it there is one.")
    ] = None,
    step: Annotated[int, typer.Option(min=1, help="The rollout's step whose weights to use.")] = 1,
    version: Annotated[str, typer.Option(help="What to serve where there is no rollout.")] = "1.0",
    image: Annotated[str, typer.Option(help="Container image.")] = "marina:latest",
    namespace: Annotated[str, typer.Option(help="Kubernetes namespace.")] = "marina",
    host: Annotated[str, typer.Option(help="Host name of the routes.")] = "marina.example.com",
    gateway: Annotated[
        str, typer.Option(metavar="NAMESPACE/NAME", help="Gateway that the routes hang on.")
    ] = "gateway-system/gateway",
) -> None:
    """Write a kustomize layout: Gateway API, KServe and Flagger on a common base."""
    from marina.k8s import Target
    from marina.k8s import render as render_target
    from marina.recipe import read_recipe
    from marina.rollout.spec import read_rollout

    gateway_namespace, _, gateway_name = gateway.rpartition("/")
    target = Target(
        recipe=read_recipe(recipe),
        version=version,
        rollout=read_rollout(rollout) if rollout else None,
        step=step - 1,
        image=image,
        namespace=namespace,
        host=host,
        gateway=gateway_name,
        gateway_namespace=gateway_namespace or namespace,
    )
    for file in render_target(target, out):
        typer.echo(out / file)
