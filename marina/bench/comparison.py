"""Comparing two measurements: by how much each number changed, and how sure that is.

The intervals are bootstrap intervals over stretches of time, not over requests: neighbours in time
share their queue and their noise, and would count as more evidence than they are (Künsch, The
Annals of Statistics 17(3), 1989). Where a side has several runs, runs are drawn first, then
stretches within them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marina.bench.result import FILE, PERCENTILES, Result
from marina.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from marina.bench.limits import ChangeLimit
    from marina.bench.result import Floats

RESAMPLES = 2000
_STRETCHES = 10
_LEAST_PER_STRETCH = 4


@dataclass(frozen=True)
class Change:
    """One number of two measurements.

    Attributes:
        metric: Its name; ``errors`` is a share of the requests.
        before: In the first.
        after: In the second.
        change: As a share of the first; 0.1 is +10%. Of ``errors``, the difference of the shares,
            as there are mostly none before.
        low: Lower end of the change's 95% interval.
        high: Upper end.
    """

    metric: str
    before: float
    after: float
    change: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out "unchanged"."""
        return self.low > 0 or self.high < 0

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``--json`` prints it."""
        return {**asdict(self), "is_sure": self.is_sure}


class Stretches:
    """The measured time of some runs, cut into stretches that can be drawn anew.

    Args:
        results: The runs.
    """

    def __init__(self, results: Sequence[Result]):
        latencies, places, tables = [], [], []
        self._runs: list[tuple[int, int]] = []  # first stretch and number of stretches
        first = 0
        for result in results:
            chosen = result.is_measured & result.is_ok
            count = min(_STRETCHES, max(2, int(chosen.sum()) // _LEAST_PER_STRETCH))
            edges = np.linspace(*result.window, count + 1)
            place = np.clip(np.digitize(result.start_s[chosen], edges) - 1, 0, count - 1)
            latencies.append(result.latency_ms[chosen])
            places.append(place + first)
            tables.append(_table(result, edges))
            self._runs.append((first, count))
            first += count
        everything = np.concatenate(latencies)
        order = np.argsort(everything)
        self._latency_ms = everything[order]
        self._place = np.concatenate(places)[order]
        self._table = np.concatenate(tables)  # (stretches, answers | seconds | errors | CPU s)

    @property
    def stretches(self) -> int:
        """How many there are."""
        return len(self._table)

    def metrics(self, weights: Floats | None = None) -> dict[str, float]:
        """Give every number, with each stretch counted as often as its weight says."""
        if weights is None:
            weights = np.ones(len(self._table))
        answers, seconds, errors, cpu_s = weights @ self._table
        requests = answers + errors
        found = {"errors": float(errors / requests) if requests else np.nan}
        heap = np.cumsum(weights[self._place])
        if not len(heap) or not heap[-1]:  # stretches without a request were drawn
            return {**dict.fromkeys((*PERCENTILES, "mean", "throughput", "cpu"), np.nan), **found}
        for name, share in PERCENTILES.items():
            index = np.searchsorted(heap, share / 100 * heap[-1])
            found[name] = float(self._latency_ms[min(index, len(heap) - 1)])
        found["mean"] = float(weights[self._place] @ self._latency_ms / heap[-1])
        found["throughput"] = float(answers / seconds)
        if not np.isnan(cpu_s):
            found["cpu"] = float(cpu_s / answers * 1e3) if answers else np.nan
        return found

    def draw(self, random: np.random.Generator) -> Floats:
        """Draw runs, then stretches in each of them; gives each stretch's weight."""
        weights = np.zeros(len(self._table))
        for run in random.integers(len(self._runs), size=len(self._runs)):
            first, count = self._runs[run]
            np.add.at(weights, first + random.integers(count, size=count), 1)
        return weights


def compare(before: Sequence[Result], after: Sequence[Result], seed: int = 0) -> list[Change]:
    """Compare measurements.

    Args:
        before: One run or several.
        after: Likewise.
        seed: Of the resampling.

    Returns:
        A change of ``errors``, and of each number that both have and that is not zero before.
    """
    sides = Stretches(before), Stretches(after)
    first, second = (side.metrics() for side in sides)
    names = [name for name in first if name in second and (first[name] or name == "errors")]
    random = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, len(names)))
    for row in range(RESAMPLES):
        a, b = (side.metrics(side.draw(random)) for side in sides)
        drawn[row] = [_change(name, a[name], b[name]) for name in names]
    change = np.asarray([_change(name, first[name], second[name]) for name in names])
    widening = _widening(min(side.stretches for side in sides))
    low, high = change + widening * (np.nanpercentile(drawn, [2.5, 97.5], axis=0) - change)
    return [
        Change(name, first[name], second[name], *map(float, (change[i], low[i], high[i])))
        for i, name in enumerate(names)
    ]


def read_side(path: Path) -> list[Result]:
    """Read one run from its file or folder, or all the runs in the folders below it.

    Raises:
        BenchError: There is none.
    """
    if path.is_dir() and not (path / FILE).exists():
        files = sorted(path.glob(f"*/{FILE}"))
        if not files:
            raise BenchError(f"no result at {path}: expected what `marina bench run` wrote")
        return [Result.read(file) for file in files]
    return [Result.read(path)]


def differences_of_setup(before: Sequence[Result], after: Sequence[Result]) -> list[str]:
    """Name what else differs: then the change is not the server's alone."""
    pairs = {
        "load": ("load", ("users", "rate", "arrivals", "protocol")),
        "images": ("images", ("sha256",)),
        "machine": ("environment", ("cpu", "usable_cores")),
    }
    found = []
    for what, (section, keys) in pairs.items():
        for key in keys:
            a, b = (
                sorted({str(result.document[section][key]) for result in side})
                for side in (before, after)
            )
            if a != b:
                found.append(f"{what} differ: {key} is {', '.join(a)} and {', '.join(b)}")
    return found


def broken(changes: Sequence[Change], limits: Sequence[ChangeLimit]) -> list[str]:
    """Name the limits that are broken for sure.

    Raises:
        BenchError: A limit is on a number that was not measured in both.
    """
    by_name = {change.metric: change for change in changes}
    found = []
    for limit in limits:
        change = by_name.get(limit.metric)
        if change is None:
            raise BenchError(f"{limit}: {limit.metric} was not measured in both")
        if limit.is_broken(change.change, change.low, change.high):
            found.append(f"{limit} ({change.change:+.1%}, {change.low:+.1%} to {change.high:+.1%})")
    return found


def _change(metric: str, before: float, after: float) -> float:
    if metric == "errors":
        return after - before
    return after / before - 1 if before else np.nan


def _widening(stretches: int) -> float:
    """Give the factor that makes up for few stretches: expanded percentiles.

    Hesterberg, The American Statistician 69(4), 2015, section 5.2: Student's quantile in place of
    the normal one (here 1.96 + 2.4 / degrees of freedom), and the variance's n / (n - 1).
    """
    freedom = stretches - 1
    return float((1 + 2.4 / 1.96 / freedom) * np.sqrt(stretches / freedom))


def _table(result: Result, edges: Floats) -> Floats:
    """Give answers, seconds, errors and CPU seconds of each stretch, (stretches, 4)."""
    failed = result.start_s[~result.is_ok]
    cpu = result.cpu_until(edges)
    columns = [
        np.diff(result.answers_until(edges)),
        np.diff(edges),
        np.histogram(failed, edges)[0].astype(float),
        np.full(len(edges) - 1, np.nan) if cpu is None else np.diff(cpu),
    ]
    return np.stack(columns, axis=1)  # (stretches, 4)
