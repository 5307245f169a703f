"""The ``marina`` command: verbs only. Each hands over to the library and shows what came back.

Results go to stdout, progress and messages to stderr. Imports stand in the verbs, so that
``marina --help`` and the verbs that need no torch start at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from marina.errors import MarinaError
from marina.progress import console

app = typer.Typer(
    name="marina",
    help="From a folder of images to a verified TorchServe endpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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
MetricsPort = Annotated[
    int, typer.Option(envvar="MARINA_METRICS_PORT", help="Prometheus metrics.")
]
DrainTimeout = Annotated[
    float, typer.Option(help="Longest wait for requests in flight at the end, in seconds.")
]


@app.command()
def train(
    recipe: RecipeFile,
    run_dir: Annotated[
        Optional[Path], typer.Option(help="Where the run goes. Default: runs/<name>/<timestamp>.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Train a recipe into a new run."""
    from marina.recipe import read_recipe
    from marina.train.training import train as train_recipe

    run = train_recipe(read_recipe(recipe, tuple(overrides)), run_dir)
    print(run.folder)


@app.command()
def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    as_json: Json = False,
) -> None:
    """Tell a run's accuracy on a split, and what it got wrong."""
    from marina import display
    from marina.train.evaluation import evaluate as evaluate_run
    from marina.train.evaluation import split_name
    from marina.train.run import Run

    evaluation = evaluate_run(Run.find(run), split_name(split))
    if as_json:
        print_json(evaluation.as_dict())
    else:
        display.evaluation(evaluation)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[
        Optional[Path], typer.Option(help="Where the model goes. Default: RUN/model.pt.")
    ] = None,
) -> None:
    """Export a run to TorchScript and prove that it answers as the network does."""
    from marina import display
    from marina.export.torchscript import export as export_run
    from marina.train.run import Run

    found = Run.find(run)
    display.parity(export_run(found, out))
    print(out or found.model)


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
    print(model_store / entry.file)


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

    print(f"export JAVA_HOME='{java_home()}'")


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


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
