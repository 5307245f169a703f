"""The order in which a sweep tries settings, and what it leaves out.

The whole product of workers, threads, batch sizes, delays and precisions would take hours. So:
first the layouts (precision, workers, threads) at one batch size; those far behind go. Then batch
sizes, upwards and downwards, for as long as they gain. Then delays for the best, then the other
backends. The best few are measured again, for longer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from handlers.backend import SUPPORTED
from marina.bench.settings import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from handlers.backend import Backend
    from handlers.precision import Precision
    from marina.bench.limits import Limit
    from marina.bench.result import Summary

BATCHES = (1, 2, 4, 8, 16, 32)
DELAYS_MS = (1, 2, 5, 10, 20)
FINALISTS = 3
_FIRST_BATCH = 4
_FIRST_DELAY_MS = 1
_FAR_BEHIND = 0.85  # of the best layout's throughput
_GAIN = 1.03  # less is noise


@dataclass(frozen=True)
class Point:
    """One setting and what it gave.

    Attributes:
        setting: The setting.
        summary: Its measurement.
        is_allowed: Whether every limit was kept.
    """

    setting: Setting
    summary: Summary
    is_allowed: bool

    @property
    def p99_ms(self) -> float:
        """Of its latencies."""
        return self.summary.latency_ms["p99"]

    @property
    def rank(self) -> tuple[bool, float]:
        """What the search wants most: the limits kept, then throughput; else the least p99."""
        return self.is_allowed, self.summary.throughput if self.is_allowed else -self.p99_ms


class Search:
    """Tries settings, each once, until it knows enough or its time is up.

    Args:
        attempt: Measures a setting, for so many times the usual duration; None if it cannot be.
        limits: What must be kept.
        is_over: Whether the time is up.

    Attributes:
        points: What was measured, in that order.
    """

    def __init__(
        self,
        attempt: Callable[[Setting, int], Summary | None],
        limits: Sequence[Limit],
        is_over: Callable[[], bool],
    ):
        self.points: list[Point] = []
        self._attempt = attempt
        self._limits = limits
        self._is_over = is_over
        self._known: dict[Setting, Point | None] = {}

    def run(
        self,
        own: Setting,
        layouts: Sequence[tuple[int, int | None]],
        precisions: Sequence[Precision],
        backends: Sequence[Backend] = ("torchscript",),
    ) -> None:
        """Search from a recipe's own setting.

        Args:
            own: The recipe's.
            layouts: Workers with their threads.
            precisions: To try with the first backend that has them.
            backends: To try; all but the first, with the best setting alone.
        """
        self._try(own)
        first = [
            Setting(workers, threads, _FIRST_BATCH, _FIRST_DELAY_MS, precision, backend)
            for precision in precisions
            for backend in _having(precision, backends)[:1]
            for workers, threads in layouts
        ]
        points = [point for setting in first if (point := self._try(setting)) is not None]
        for point in self._near_best(points):
            self._climb(point)
        if self.points:
            self._delays(max(self.points, key=lambda point: point.rank).setting)
            self._backends(max(self.points, key=lambda point: point.rank).setting, backends)
        for point in sorted(self.points, key=lambda point: point.rank, reverse=True)[:FINALISTS]:
            self._again(point)

    def _near_best(self, points: Sequence[Point]) -> list[Point]:
        if not points:
            return []
        best = max(point.summary.throughput for point in points)
        return [point for point in points if point.summary.throughput >= _FAR_BEHIND * best]

    def _climb(self, start: Point) -> None:
        """Go up and down from the first batch size for as long as it gains."""
        at = BATCHES.index(_FIRST_BATCH)
        for sizes in (BATCHES[at + 1 :], BATCHES[at - 1 :: -1]):
            best = start
            for size in sizes:
                setting = replace(start.setting, batch_size=size)
                point = self._try(setting)
                if point is None or not _gains(point, best):
                    break
                best = point

    def _delays(self, setting: Setting) -> None:
        """Try delays about the best setting, shorter ones first; stop where one loses."""
        if setting.batch_size == 1:
            return
        now_ms = setting.max_batch_delay_ms
        shorter = [delay_ms for delay_ms in reversed(DELAYS_MS) if delay_ms < now_ms]
        longer = [delay_ms for delay_ms in DELAYS_MS if delay_ms > now_ms]
        for delays in (shorter, longer):
            best = self._known.get(setting)
            for delay_ms in delays:
                point = self._try(replace(setting, max_batch_delay_ms=delay_ms))
                if point is None or (best is not None and not _gains(point, best)):
                    break
                best = point

    def _backends(self, setting: Setting, backends: Sequence[Backend]) -> None:
        """Try the best setting with the other libraries that have its precision."""
        for backend in _having(setting.precision, backends):
            self._try(replace(setting, backend=backend))

    def _try(self, setting: Setting) -> Point | None:
        if setting in self._known:
            return self._known[setting]
        if self._is_over():
            return None
        point = self._point(setting, self._attempt(setting, 1))
        self._known[setting] = point
        if point is not None:
            self.points.append(point)
        return point

    def _again(self, point: Point) -> None:
        """Measure one of the best for longer, in place of its first measurement."""
        if self._is_over():
            return
        longer = self._point(point.setting, self._attempt(point.setting, 2))
        if longer is not None:
            self.points[self.points.index(point)] = longer

    def _point(self, setting: Setting, summary: Summary | None) -> Point | None:
        if summary is None:
            return None
        is_allowed = all(limit.check(summary).is_met for limit in self._limits)
        return Point(setting, summary, is_allowed)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Give the points that no other one beats in both throughput and p99, by throughput."""
    return sorted(
        (
            point
            for point in points
            if not any(
                other.summary.throughput >= point.summary.throughput
                and other.p99_ms <= point.p99_ms
                and other is not point
                for other in points
            )
        ),
        key=lambda point: point.summary.throughput,
    )


def _having(precision: Precision, backends: Sequence[Backend]) -> list[Backend]:
    return [backend for backend in backends if precision in SUPPORTED[backend]]


def _gains(point: Point, best: Point) -> bool:
    """Tell whether a step was worth it: allowed where the other was not, or clearly faster."""
    if point.is_allowed != best.is_allowed:
        return point.is_allowed
    faster = point.summary.throughput > _GAIN * best.summary.throughput
    return faster or point.p99_ms * _GAIN < best.p99_ms
