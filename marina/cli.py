"""The ``marina`` command: verbs only. Each hands over to the library and shows what came back.

Results go to stdout, progress and messages to stderr. Imports stand in the verbs, so that
``marina --help`` and the verbs that need no torch start at once.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from marina.errors import ClientError, MarinaError
from marina.progress import console

app = typer.Typer(
    name="marina",
    help="From a folder of images to a verified TorchServe endpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


@app.command()
def train(
    recipe: RecipeFile,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where the run goes. Default: runs/<name>/<timestamp>.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Train a recipe into a new run."""
    from marina.recipe import read_recipe
    from marina.train.training import train as train_recipe

    run = train_recipe(read_recipe(recipe, tuple(overrides)), run_dir)
    typer.echo(run.folder)


@app.command()
def evaluate(
    run: RunFolder,
    split: Annotated[SplitChoice, typer.Option(help="Which images.")] = SplitChoice.test,
    as_json: Json = False,
) -> None:
    """Tell a run's accuracy on a split, and what it got wrong."""
    from marina import display
    from marina.train.evaluation import evaluate as evaluate_run
    from marina.train.run import Run

    evaluation = evaluate_run(Run.find(run), split.value)
    if as_json:
        print_json(evaluation.as_dict())
    else:
        display.evaluation(evaluation)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="Where the model goes. Default: RUN/model.pt.")
    ] = None,
) -> None:
    """Export a run to TorchScript and prove that it answers as the network does."""
    from marina import display
    from marina.export.torchscript import export as export_run
    from marina.train.run import Run

    found = Run.find(run)
    display.parity(export_run(found, out))
    typer.echo(out or found.model)


@app.command()
def archive(
    run: RunFolder,
    version: Annotated[str, typer.Option(help="Version of the model, such as 1.0.")],
    model_store: StoreFolder = Path("model_store"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite that version.")] = False,
) -> None:
    """Pack a run into model_store/<name>-<version>.mar; exports it first if need be."""
    from marina.archive.archive import archive as archive_run
    from marina.archive.store import ModelStore
    from marina.export.torchscript import export as export_run
    from marina.export.torchscript import is_exported
    from marina.train.run import Run

    found = Run.find(run)
    store = ModelStore(model_store)
    store.refuse_overwrite(found.recipe.name, version, force=force)
    if not is_exported(found):
        export_run(found)
    entry = archive_run(found, version, store, force=force)
    console.print(f"SHA-256 {entry.sha256}")
    typer.echo(model_store / entry.file)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE.mar")],
    as_json: Json = False,
) -> None:
    """Show what is inside a .mar and verify its digests."""
    from marina import display
    from marina.archive.inspection import inspect as inspect_file

    inspection = inspect_file(file)
    if as_json:
        print_json(inspection.as_dict())
    else:
        display.inspection(inspection)
    if inspection.faults:
        raise typer.Exit(1)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine: Python, torch, GPUs, Java, Envoy, ports, disk, memory, threads."""
    from marina import display
    from marina.doctor import examine

    findings = examine()
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        display.findings(findings)
    if any(finding.fix for finding in findings):
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print shell lines that put the Java runtime at hand: eval "$(marina env)"."""
    from marina.serve.java import java_home

    typer.echo(f"export JAVA_HOME='{java_home()}'")


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command; an error of ours ends with its one-line cause and its own exit code."""
    try:
        app()
    except MarinaError as err:
        console.print(f"[bold red]error:[/] {err}", highlight=False, soft_wrap=True)
        details = getattr(err, "details", "")
        if details:
            console.print(details, markup=False, highlight=False, soft_wrap=True)
        sys.exit(err.exit_code)
