"""Limits on a measurement: ``p99=200ms,errors=0``, and on a change: ``p99>+10%``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from marina.errors import BenchError

if TYPE_CHECKING:
    from marina.bench.result import Summary

LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "mean", "max")
_UNITS = {
    **{name: {"ms": 1.0, "s": 1000.0, "us": 0.001} for name in LATENCIES},
    "errors": {"": 1.0, "%": 1.0},
    "throughput": {"": 1.0, "/s": 1.0},
    "cpu": {"ms": 1.0},
}
_COMPARED = [name for name in _UNITS if name != "max"]  # one request says nothing of a change
_LIMIT = re.compile(r"([a-z0-9.]+)\s*=\s*([0-9.]+)\s*([a-z/%]*)")
_CHANGE = re.compile(r"([a-z0-9.]+)\s*([<>])\s*([+-]?[0-9.]+)\s*%")


@dataclass(frozen=True)
class Limit:
    """The worst that a number may be: the least throughput, the most of everything else.

    Attributes:
        metric: ``p50`` to ``p99.9``, ``mean``, ``max`` (ms), ``errors`` (requests, or a share of
            them), ``throughput`` (answers per second) or ``cpu`` (ms per answer).
        value: In that unit, or in percent.
        is_share: ``errors`` as percent of the requests.
    """

    metric: str
    value: float
    is_share: bool = False

    def check(self, summary: Summary) -> Verdict:
        """Hold a measurement against it.

        Raises:
            BenchError: The measurement lacks this number.
        """
        if self.metric not in summary.metrics:
            raise BenchError(
                f"{self.metric} was not measured, as the server's processes cannot be seen from "
                f"here: leave {self.metric} out, or measure on the server's machine as its user"
            )
        found = summary.metrics[self.metric]
        if self.is_share:
            found = 100 * found / max(1, summary.requests)
        is_met = found >= self.value if self.metric == "throughput" else found <= self.value
        return Verdict(str(self), found, is_met)

    def __str__(self) -> str:
        unit = "%" if self.is_share else next(iter(_UNITS[self.metric]))
        sign = "≥" if self.metric == "throughput" else "≤"
        return f"{self.metric} {sign} {self.value:g}{unit}"


@dataclass(frozen=True)
class Verdict:
    """Whether a limit was kept.

    Attributes:
        limit: The limit, for people.
        found: What was measured, in its unit.
        is_met: Whether it was kept.
    """

    limit: str
    found: float
    is_met: bool

    def as_dict(self) -> dict[str, Any]:
        """Give it as a result holds it."""
        return asdict(self)


@dataclass(frozen=True)
class ChangeLimit:
    """The most that a number may change for the worse, as ``p99>+10%`` or ``throughput<-5%``.

    Attributes:
        metric: As in `Limit`.
        is_above: It fails above the share, otherwise below it.
        share: See `Change.change`; 0.1 is +10%.
    """

    metric: str
    is_above: bool
    share: float

    def is_broken(self, change: float, low: float, high: float) -> bool:
        """Tell whether a change is beyond the limit, and its interval leaves no "unchanged"."""
        if self.is_above:
            return change > self.share and low > 0
        return change < self.share and high < 0

    def __str__(self) -> str:
        sign = ">" if self.is_above else "<"
        return f"{self.metric}{sign}{100 * self.share:+g}%"


def read_limits(text: str) -> list[Limit]:
    """Read limits with commas between, such as ``p99=200ms,errors=0``.

    Raises:
        BenchError: One of them is none; the message says what one looks like.
    """
    return [_limit(part.strip()) for part in text.split(",") if part.strip()]


def read_change(text: str) -> ChangeLimit:
    """Read a limit on a change, such as ``p99>+10%``.

    Raises:
        BenchError: It is none; the message says what one looks like.
    """
    match = _CHANGE.fullmatch(text.strip())
    if match is None or match[1] not in _COMPARED:
        raise BenchError(
            "a limit on a change looks like p99>+10%, throughput<-5% or errors>+0.1% (one more "
            f"request in a thousand fails), of {', '.join(_COMPARED)}; not {text!r}"
        )
    return ChangeLimit(match[1], match[2] == ">", float(match[3]) / 100)


def _limit(text: str) -> Limit:
    match = _LIMIT.fullmatch(text)
    if match is None or match[1] not in _UNITS or match[3] not in _UNITS[match[1]]:
        raise BenchError(
            "a limit looks like p99=200ms, errors=0, errors=0.1%, throughput=30 or cpu=40ms (of "
            f"{', '.join(_UNITS)}); not {text!r}"
        )
    return Limit(match[1], float(match[2]) * _UNITS[match[1]][match[3]], match[3] == "%")
