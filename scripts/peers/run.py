"""The same workload on Marina, stock TorchServe and its peers, in interleaved rounds.

    .venv/bin/python scripts/peers/run.py --quick  # at most 10 minutes: one size, two loads
    .venv/bin/python scripts/peers/run.py --full   # an hour: three sizes, three loads, and peers
                                                   # with our pipeline in bf16 and int8, too

It makes the environments and archives that are missing, then goes round all servers again and
again until its time is up: what drifts on the machine, drifts for all. What is measured is kept in
``bench/peers`` and is not measured again; ``--fresh`` forgets it, and the archives, which may be of
older code. The table and the plot go to ``docs/benchmarks.md`` and ``docs/benchmarks.png``. A peer
that fails is reported as such.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from contestants import DECODE, PRECISIONS, REPO, Contestant, contestants
from preparation import ARCHIVES, archive_all, install
from report import SIZES, write_report
from serving import Failure, load_for, say, served, wait_until_ready

from marina.bench.generator import LoadGenerator
from marina.bench.images import ImageSet
from marina.bench.measurement import measure
from marina.bench.result import Result
from marina.errors import MarinaError
from marina.files import write_whole
from marina.serve.interruption import exit_on_sigterm

WARMUP_S = 5.0  # Java compiles what it runs, in its first seconds most of all


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: Of the photographs.
        users: Closed loops of so many clients.
        minutes: When to stop going round.
        warmup: Seconds of load before each measurement.
        seconds: Of each measurement.
        inside: Precisions in which peers have our pipeline.
    """

    sizes: tuple[str, ...]
    users: tuple[int, ...]
    minutes: float
    warmup: float = WARMUP_S
    seconds: float = 2.0
    inside: tuple[str, ...] = ("fp32",)


QUICK = Plan(("photo-640",), (8, 32), 9)
FULL = Plan(("photo-640", "photo-224", "photo-12mp"), (1, 8, 32), 56, inside=PRECISIONS)


def main() -> None:
    """Prepare, go round, report."""
    exit_on_sigterm()
    options = _options()
    plan = FULL if options.full else QUICK
    changed = {
        name: getattr(options, name) for name in ("seconds", "minutes", "users", "sizes", "warmup")
    }
    plan = replace(plan, **{key: value for key, value in changed.items() if value})
    work: Path = options.work
    if options.fresh:
        for name in ("cells", *ARCHIVES):
            shutil.rmtree(work / name, ignore_errors=True)
    everyone = chosen(contestants(work, options.decode, plan.inside), options.only)
    failures = prepare(everyone, work, options.decode)
    runnable = [c for c in everyone if c.key not in failures]
    with LoadGenerator() as generator:
        failures |= go_round(generator, runnable, plan, work)
    docs = options.docs or (work / "docs" if options.only else REPO / "docs")
    write_report(everyone, plan.sizes, plan.users, failures, work, docs)
    print(f"{docs}/benchmarks.md")


def chosen(everyone: list[Contestant], names: list[str]) -> list[Contestant]:
    """Give those of some names or titles; all of them if none is named."""
    known = {name for c in everyone for name in (c.name, c.title)}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"--only is one of {', '.join(sorted(known))}; not {unknown[0]!r}")
    return [c for c in everyone if not names or {c.name, c.title} & set(names)]


def prepare(everyone: list[Contestant], work: Path, decode: str) -> dict[str, str]:
    """Make environments and archives; gives what failed, by contestant."""
    failures = {}
    say("archives")
    missing = archive_all(work, decode)
    for contestant in everyone:
        if contestant.precision in missing:
            failures[contestant.key] = missing[contestant.precision]
        if contestant.environment is None:
            continue
        try:
            say(f"environment {contestant.environment}")
            install(contestant.environment, work)
        except subprocess.CalledProcessError as err:
            failures[contestant.key] = f"not installed: {err.stderr.strip()[-300:]}"
    return failures


def go_round(
    generator: LoadGenerator, everyone: list[Contestant], plan: Plan, work: Path
) -> dict[str, str]:
    """Measure everyone in rounds of changing order until the time is up."""
    deadline = time.monotonic() + 60 * plan.minutes
    failures: dict[str, str] = {}
    number = 0
    while time.monotonic() < deadline and len(failures) < len(everyone):
        order = list(everyone)
        random.Random(number).shuffle(order)
        for contestant in order:
            cells = missing_cells(contestant, plan, number, work)
            if not cells or contestant.key in failures or time.monotonic() > deadline:
                continue
            say(f"round {number + 1}: {contestant.title}")
            try:
                measure_cells(generator, contestant, cells, number, plan, work)
            except (Failure, MarinaError) as err:
                failures[contestant.key] = str(err)
                say(f"  failed: {err}")
        number += 1
    return failures


def missing_cells(
    contestant: Contestant, plan: Plan, number: int, work: Path
) -> list[tuple[str, int]]:
    """Give the sizes and loads that this round has not yet measured."""
    cells = [(size, users) for size in plan.sizes for users in plan.users]
    return [cell for cell in cells if not cell_folder(contestant, *cell, number, work).exists()]


def cell_folder(contestant: Contestant, size: str, users: int, number: int, work: Path) -> Path:
    """Where one measurement is kept."""
    return work / "cells" / contestant.key / f"{size}-{users}" / str(number)


def measure_cells(
    generator: LoadGenerator,
    contestant: Contestant,
    cells: list[tuple[str, int]],
    number: int,
    plan: Plan,
    work: Path,
) -> None:
    """Start a server, measure it, stop it."""
    with served(contestant) as (url, pid):
        wait_until_ready(generator, contestant, url, pid, cells[0][0], work)
        for size, users in cells:
            load = load_for(contestant, url, size, users, plan.seconds, work, plan.warmup)
            images = ImageSet(size, load.images)
            result = measure(
                generator, load, images, roots=lambda: [pid], title=f"{size} × {users}"
            )
            if result.summary.errors > result.summary.requests / 100:
                raise Failure(f"{size}, {users} users: {next(iter(result.document['errors']))}")
            keep(result, cell_folder(contestant, size, users, number, work))


def keep(result: Result, folder: Path) -> None:
    """Keep a measurement."""
    document = {k: v for k, v in result.document.items() if k != "target"}
    write_whole(folder / "result.json", json.dumps(document))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="one size, two loads (the default)")
    size.add_argument("--full", action="store_true", help="three sizes, three loads")
    parser.add_argument("--minutes", type=float, help="when to stop going round")
    parser.add_argument("--seconds", type=float, help="of each measurement, 2 unless told")
    parser.add_argument("--users", type=int, nargs="+", help="closed loops of so many clients")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="FastAPI, or mosec (ours)"
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, help="of the photographs")
    parser.add_argument("--warmup", type=float, help="seconds of load before each measurement")
    parser.add_argument("--decode", choices=("exact", "fast"), default=DECODE, help="Marina's")
    parser.add_argument(
        "--fresh", action="store_true", help="forget what was measured and archived before"
    )
    parser.add_argument("--work", type=Path, default=REPO / "bench" / "peers")
    parser.add_argument(
        "--docs", type=Path, help="for the report: docs, or with --only the work's folder"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
