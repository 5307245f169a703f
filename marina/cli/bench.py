"""Verbs of benchmarks: bench run, sweep, compare, limit, profile."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marina.cli.app import app
from marina.cli.options import Json, LogFolder, RunFolder, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

bench = typer.Typer(
    help="Measure a served model: load, limits, comparisons, sweeps.", no_args_is_help=True
)
app.add_typer(bench, name="bench", rich_help_panel="Serving")


class ProtocolChoice(StrEnum):
    """The protocols, as a choice that the shell can complete."""

    rest = "rest"
    grpc = "grpc"


class ArrivalsChoice(StrEnum):
    """How requests arrive in open loop."""

    uniform = "uniform"
    poisson = "poisson"


LEAST_S = 0.1  # of a measurement

Url = Annotated[
    str | None, typer.Option(help="Default: http://127.0.0.1:8080, or 127.0.0.1:7070 for gRPC.")
]
ModelName = Annotated[str, typer.Option(help="Name of the model.")]
Version = Annotated[str | None, typer.Option(help="Default: the server's default.")]
Images = Annotated[
    str | None,
    typer.Option(
        help="Folder of images, or photo-224, photo-640, photo-12mp. Default: the archive's "
        "golden images, or photo-640 where the archive is not known."
    ),
]
Users = Annotated[int, typer.Option(help="Closed loop: clients that send when answered.", min=1)]
Duration = Annotated[float, typer.Option(help="How long to measure, in seconds.")]
Warmup = Annotated[float, typer.Option(help="Load before that, in seconds; more is cut off.")]
Protocol = Annotated[ProtocolChoice, typer.Option(help="How to ask.")]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Where to. Default: bench/<name>-<time>.")
]


@bench.command("run")
def run(
    url: Url = None,
    model: ModelName = "resnet",
    version: Version = None,
    users: Users = 1,
    rate: Annotated[
        float | None,
        typer.Option(help="Open loop instead: requests/s; latency counts from the due time."),
    ] = None,
    arrivals: Annotated[
        ArrivalsChoice, typer.Option(help="Open loop: spacing of the requests.")
    ] = ArrivalsChoice.uniform,
    duration: Duration = 30.0,
    warmup: Warmup = 5.0,
    images: Images = None,
    protocol: Protocol = ProtocolChoice.rest,
    slo: Annotated[
        str, typer.Option(help="Limits, such as p99=200ms,errors=0; exit code 21 if missed.")
    ] = "",
    out: OutFolder = None,
    log_dir: LogFolder = Path("logs"),
    as_json: Json = False,
) -> None:
    """Load a running server and tell its latency, throughput and CPU time per answer."""
    from marina.bench.run import Job, run_job
    from marina.display import bench as display
    from marina.errors import LimitMissed

    job = Job(
        url=url,
        model=model,
        version=version,
        users=users,
        rate=rate,
        arrivals=arrivals.value,
        duration_s=duration,
        warmup_s=warmup,
        images=images,
        protocol=protocol.value,
        slo=slo,
        out=out,
        log_dir=log_dir,
    )
    done = run_job(job)
    if as_json:
        print_json(done.as_dict())
    else:
        display.result(done.result)
        display.verdicts(done.verdicts)
        typer.echo(done.folder / "report.html")
    if not all(verdict.is_met for verdict in done.verdicts):
        raise LimitMissed("a limit was missed: " + ", ".join(done.missed))


@bench.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(help="A result, or a folder of several.")],
    after: Annotated[Path, typer.Argument(help="The one to hold against it.")],
    fail_if: Annotated[
        list[str],
        typer.Option(help="Such as 'p99>+10%' or 'throughput<-5%'; exit code 21 if it is so."),
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    as_json: Json = False,
) -> None:
    """Tell by how much two measurements differ, with 95% intervals."""
    from marina.bench import comparison
    from marina.bench.limits import read_change
    from marina.display import bench as display
    from marina.errors import LimitMissed

    limits = [read_change(text) for text in fail_if]
    sides = comparison.read_side(before), comparison.read_side(after)
    changes = comparison.compare(*sides)
    differing = comparison.differences_of_setup(*sides)
    if as_json:
        print_json({"changes": [c.as_dict() for c in changes], "setup": differing})
    else:
        display.changes(changes, differing)
    broken = comparison.broken(changes, limits)
    if broken:
        raise LimitMissed("worse than allowed: " + "; ".join(broken))


@bench.command("limit")
def limit(
    archive: Annotated[Path, typer.Argument(metavar="FILE.mar")],
    images: Images = None,
    batch_size: Annotated[
        list[int],
        typer.Option(help="Images in a call; may be repeated. Default: 1, 8, its own.", min=1),
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    seconds: Annotated[
        float, typer.Option(help="For each way to use the machine.", min=LEAST_S)
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Measure what an archive's handler gives in-process: the limit of any server around it."""
    from marina.bench.ceiling import find_ceiling
    from marina.display import bench as display

    found = find_ceiling(archive, images, batch_size, seconds)
    if as_json:
        print_json(found.as_dict())
    else:
        display.ceiling(found)


@bench.command("profile")
def profile(
    url: Url = None,
    model: ModelName = "resnet",
    version: Version = None,
    users: Users = 1,
    duration: Duration = 10.0,
    warmup: Warmup = 2.0,
    images: Images = None,
    protocol: Protocol = ProtocolChoice.rest,
    metrics_url: Annotated[
        str | None, typer.Option(help="Default: serve.json's, or http://127.0.0.1:8082/metrics.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file for the stacked bar.")] = None,
    log_dir: LogFolder = Path("logs"),
    as_json: Json = False,
) -> None:
    """Tell where a request's milliseconds go: gateway, frontend, queue, handler."""
    from marina.bench import breakdown
    from marina.bench.run import Job, prepared
    from marina.display import bench as display

    job = Job(
        url=url,
        model=model,
        version=version,
        users=users,
        duration_s=duration,
        warmup_s=warmup,
        images=images,
        protocol=protocol.value,
        log_dir=log_dir,
    )
    with prepared(job) as ready:
        where = metrics_url or ready.target.metrics_url or "http://127.0.0.1:8082/metrics"
        found = breakdown.profile(ready.generator, ready.load, where)
    if plot:
        breakdown.plot(found, plot)
    if as_json:
        print_json(found.as_dict())
    else:
        display.breakdown(found)


@bench.command("sweep")
def sweep(
    run: RunFolder,
    limits: Annotated[
        str, typer.Option("--for", help="Such as p99=200ms: writes the fastest into the recipe.")
    ] = "",
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe to write to. Default: models/<name>.yaml.")
    ] = None,
    users: Users = 8,
    seconds: Annotated[float, typer.Option(help="Of each measurement.", min=LEAST_S)] = 4.0,
    minutes: Annotated[float, typer.Option(help="When to try nothing more.")] = 14.0,
    precision: Annotated[
        list[str],
        typer.Option(help="Beside the recipe's. Default: what the processor is fast at."),
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    backend: Annotated[
        list[str],
        typer.Option(help="Beside the recipe's. Default: what can be exported here."),
    ] = [],  # noqa: B006
    workers: Annotated[list[int], typer.Option(help="Default: 1, 2, 4, … cores.", min=1)] = [],  # noqa: B006
    images: Images = None,
    out: OutFolder = None,
    as_json: Json = False,
) -> None:
    """Try what serve: may say, batch sizes to backends; --for chooses the best and writes it."""
    from handlers.backend import BACKENDS
    from handlers.precision import PRECISIONS
    from marina.bench.sweep import Plan, write_back, write_report
    from marina.bench.sweep import sweep as sweep_run
    from marina.display import bench as display
    from marina.errors import LimitMissed, RecipeError
    from marina.progress import console
    from marina.train.run import Run

    found_run = Run.find(run)
    shipped = recipe or Path("models") / f"{found_run.recipe.name}.yaml"
    if recipe and not recipe.is_file():
        raise RecipeError(f"no recipe at {recipe}: --recipe is the file that --for writes to")
    plan = Plan(
        users=users,
        seconds=seconds,
        minutes=minutes,
        images=images,
        precisions=checked("--precision", precision, PRECISIONS),
        backends=checked("--backend", backend, BACKENDS),
        workers=workers,
        limits=limits,
    )
    found = sweep_run(found_run, plan)
    folder = out or Path("bench") / f"{found_run.recipe.name}-sweep"
    write_report(found, folder)
    if as_json:
        print_json(found.as_dict())
    else:
        display.swept(found)
    if limits and found.best is None:
        raise LimitMissed(found.reason)
    if limits:
        # The run's own copy too: it is what `marina archive` reads.
        files = [file for file in (shipped, found_run.recipe_file) if file.exists()]
        for file in write_back(found, files):
            console.print(f"written to {file}; archive the run again to serve it so")


def checked(option: str, given: list[str], known: Sequence[str]) -> list[Any]:
    """Check the values of an option that may be repeated.

    Raises:
        BenchError: One of them is not known.
    """
    from marina.errors import BenchError

    for name in given:
        if name not in known:
            raise BenchError(f"{option} is one of {', '.join(known)}, not {name!r}")
    return given
