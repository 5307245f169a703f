"""``marina bench sweep``: which setting of ``serve:`` is best, measured on this machine."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from handlers.backend import BACKENDS
from handlers.cores import usable_cores
from handlers.precision import fast_precisions, processor_flags
from marina.bench.generator import LoadGenerator
from marina.bench.images import find_images
from marina.bench.limits import read_limits
from marina.bench.load import Load
from marina.bench.measurement import measure
from marina.bench.search import Point, Search, frontier
from marina.bench.settings import Setting, Workshop, write_setting
from marina.errors import BenchError, MarinaError
from marina.export.backends import can_export
from marina.files import write_whole
from marina.progress import console
from marina.serve import ServeConfig, running
from marina.serve.served import Served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.backend import Backend
    from handlers.precision import Precision
    from marina.bench.images import ImageSet
    from marina.bench.result import Summary
    from marina.train.run import Run


@dataclass(frozen=True)
class Plan:
    """How a sweep measures.

    Attributes:
        users: Clients of the closed loop.
        seconds: Of each measurement.
        minutes: When to try nothing more.
        images: See `marina.bench.images.find_images`.
        precisions: To try beside the recipe's own; none at all tries those that the processor has
            instructions for.
        backends: To try beside the recipe's own; none at all tries those that can be
            exported here.
        workers: To try; none at all tries 1, 2, 4, … up to the cores.
        limits: What must be kept, see `marina.bench.limits.read_limits`.
    """

    users: int = 8
    seconds: float = 4.0
    minutes: float = 14.0
    images: str | None = None
    precisions: Sequence[Precision] = ()
    backends: Sequence[Backend] = ()
    workers: Sequence[int] = ()
    limits: str = ""


@dataclass
class Swept:
    """What a sweep found.

    Attributes:
        own: The recipe's own setting.
        points: All that was measured.
        limits: What had to be kept, for people.
        left_out: Why some settings could not be measured.
    """

    own: Setting
    points: list[Point]
    limits: str
    left_out: list[str] = field(default_factory=list)

    @property
    def best(self) -> Point | None:
        """The fastest that keeps every limit; None if none does."""
        allowed = [point for point in self.points if point.is_allowed]
        return max(allowed, key=lambda point: point.rank, default=None)

    @property
    def reason(self) -> str:
        """Why the best is the best, in a sentence or two."""
        best = self.best
        if best is None:
            nearest = min(self.points, key=lambda point: point.p99_ms)
            return (
                f"none of {len(self.points)} settings keeps {self.limits}; the nearest is "
                f"{nearest.setting}, {_numbers(nearest)}"
            )
        allowed = [point for point in self.points if point.is_allowed]
        kept = f"of {len(self.points)} settings tried, {len(allowed)} keep {self.limits or 'all'}"
        text = f"{best.setting}: {_numbers(best)}; {kept}, and this is the fastest of them"
        others = [point for point in allowed if point is not best]
        if others:
            second = max(others, key=lambda point: point.rank)
            text += f". The next is {second.setting}, {_numbers(second)}"
        before = next((point for point in self.points if point.setting == self.own), None)
        if before is not None and before is not best:
            text += f". The recipe's own gave {_numbers(before)}"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``sweep.json`` holds it."""
        on_frontier = frontier(self.points)
        return {
            "limits": self.limits,
            "reason": self.reason,
            "best": self.best and asdict(self.best.setting),
            "points": [
                {**asdict(point), "is_on_frontier": point in on_frontier} for point in self.points
            ],
            "left_out": self.left_out,
        }


def sweep(run: Run, plan: Plan) -> Swept:
    """Measure settings of a run until the best is known or the time is up.

    Raises:
        BenchError: The limits or the load are not sound, or nothing could be measured.
    """
    own = Setting.of(run.recipe)
    found = Swept(own, [], plan.limits)
    limits = read_limits(plan.limits)
    deadline = time.monotonic() + 60 * plan.minutes
    with (
        tempfile.TemporaryDirectory(prefix="marina-sweep-") as folder,
        LoadGenerator() as generator,
    ):
        images = find_images(plan.images, None, Path(folder)) if plan.images else None
        bench = _Bench(Workshop(run, Path(folder)), generator, plan, images, Path(folder), found)
        search = Search(bench.attempt, limits, is_over=lambda: time.monotonic() > deadline)
        tried = plan.precisions or fast_precisions(processor_flags())
        precisions = list(dict.fromkeys([own.precision, *tried]))
        backends = plan.backends or [each for each in BACKENDS if can_export(each)]
        backends = list(dict.fromkeys([own.backend, *backends]))
        search.run(own, _layouts(plan.workers), precisions, backends)
    found.points = search.points
    if time.monotonic() > deadline:
        found.left_out.append(f"the time of {plan.minutes:g} minutes was up before all were tried")
    if not found.points:
        raise BenchError(f"no setting could be measured: {found.left_out[0]}")
    return found


def write_back(found: Swept, recipes: Sequence[Path]) -> list[Path]:
    """Write the best setting into recipes.

    Returns:
        Those that were changed; none if nothing keeps the limits, or their own is the best.

    Raises:
        RecipeError: A file cannot be edited.
    """
    if found.best is None or found.best.setting == found.own:
        return []
    for file in recipes:
        write_setting(file, found.best.setting)
    return list(recipes)


def write_report(found: Swept, folder: Path) -> None:
    """Write ``sweep.json`` and ``pareto.png``."""
    from marina.bench.plots import plot_pareto

    write_whole(folder / "sweep.json", json.dumps(found.as_dict(), indent=2))
    plot_pareto(found.points, frontier(found.points), found.best, folder / "pareto.png")


class _Bench:
    """Serves one setting after another and measures it."""

    def __init__(
        self,
        workshop: Workshop,
        generator: LoadGenerator,
        plan: Plan,
        images: ImageSet | None,
        folder: Path,
        found: Swept,
    ):
        self._workshop = workshop
        self._generator = generator
        self._plan = plan
        self._images = images
        self._folder = folder
        self._found = found

    def attempt(self, setting: Setting, times: int) -> Summary | None:
        """Measure a setting; None, with the reason kept, if it cannot be served."""
        try:
            summary = self._measure(setting, times)
        except MarinaError as err:
            self._found.left_out.append(f"{setting}: {err}")
            console.print(f"{setting}: left out, {err}", highlight=False, markup=False)
            return None
        text = f"{summary.throughput:.1f}/s, p99 {summary.latency_ms['p99']:.0f} ms"
        console.print(f"{setting}: {text}", highlight=False)
        return summary

    def _measure(self, setting: Setting, times: int) -> Summary:
        archive = self._workshop.archive(setting)
        model = Served.read(archive)
        config = ServeConfig.on_free_ports(self._folder)
        with running(config, [model], log_dir=self._folder / "logs") as server:
            images = self._images or find_images(None, archive, self._folder)
            load = Load(
                server.rest_url,
                images.files,
                model=model.name,
                users=self._plan.users,
                duration_s=self._plan.seconds * times,
                warmup_s=1.0,
            )
            return measure(self._generator, load, images, roots=self._server).summary

    def _server(self) -> list[int]:
        children = psutil.Process().children()
        return [child.pid for child in children if child.pid != self._generator.pid]


def _layouts(workers: Sequence[int]) -> list[tuple[int, int | None]]:
    """Give workers with their threads: all cores shared out, and one thread each; never more."""
    cores = usable_cores()
    counts = workers or sorted({n for n in (1, 2, 4, 8, 16, 32, cores) if n <= cores})
    alone = [(count, 1) for count in counts if cores // count > 1]
    return [*((count, None) for count in counts), *alone]


def _numbers(point: Point) -> str:
    return f"{point.summary.throughput:.1f} answers/s at p99 {point.p99_ms:.0f} ms"
