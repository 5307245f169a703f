"""Gates: what a rollout demands, held against what was counted.

A gate is *breached* once the effect is shown to lie beyond its limit, *passed* once it is shown
to lie within, and *open* until then. Either is shown at the gate's part of alpha and stays valid
however often it is looked at (`marina.rollout.comparison`). `check` says which, cheaply enough to
be asked each second; `explain` gives the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from marina.rollout.comparison import (
    Comparison,
    Conclusion,
    exceeds,
    forecast,
    interval,
    stays_below,
)
from marina.rollout.drift import ClassMix
from marina.rollout.quantiles import QuantileRatio
from marina.rollout.rates import Mean, RateDifference
from marina.rollout.spec import Gate, Gates, MaxDecrease, MaxIncrease, MaxRatio, MaxShift, MinShare
from marina.rollout.tally import ArmTally, PairTally, Tally


class Status(StrEnum):
    """Where a gate stands."""

    PASSED = "passed"
    BREACHED = "breached"
    OPEN = "open"
    NO_DATA = "no data"


@dataclass(frozen=True)
class Evidence:
    """Why a gate stands where it stands.

    Attributes:
        gate: Its name.
        status: Where it stands.
        required: Whether it must pass before the promotion.
        limit: What is allowed, in the unit of the estimate.
        estimate: What was seen: a difference of shares, or a ratio; None before there are data.
        low: Smallest value that is not rejected.
        high: Largest one.
        requests: How many the evidence comes from.
        more_requests: About so many more until it passes or is breached, if what was seen goes
            on; None if it has, or if that is too far to see.
        verdict: In words: better, worse, no difference larger than the limit, or keep running.
        sentence: All of it for a reader.
    """

    gate: str
    status: Status
    required: bool
    limit: float
    estimate: float | None
    low: float | None
    high: float | None
    requests: int
    more_requests: int | None
    verdict: str
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Give the evidence for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Demand:
    """A gate as a comparison.

    Attributes:
        comparison: The data.
        limit: On the comparison's own scale, which is the log for a ratio.
        worse_above: Whether beyond the limit means above it.
        neutral: The effect of two equal arms; None where there are no arms to compare.
        shown: From that scale to what a reader sees.
        unit: How a reader's number is written.
    """

    comparison: Comparison
    limit: float
    worse_above: bool
    neutral: float | None
    shown: Callable[[float], float]
    unit: str


def check(gates: Gates, strata: Sequence[Tally]) -> dict[str, Status]:
    """Tell where each gate stands."""
    return {
        name: _status(gate, strata, name, gates.alpha_each) for name, gate in gates.kept.items()
    }


def explain(gates: Gates, strata: Sequence[Tally]) -> list[Evidence]:
    """Tell where each gate stands and why."""
    return [_explain(gate, strata, name, gates.alpha_each) for name, gate in gates.kept.items()]


def overall(evidence: Sequence[Evidence]) -> str:
    """Give the verdict on the candidate in a line."""
    breached = [each.gate for each in evidence if each.status is Status.BREACHED]
    if breached:
        return f"worse: {', '.join(breached)}"
    waiting = [each for each in evidence if each.required and each.status is not Status.PASSED]
    if waiting:
        return f"keep running: {_outlook(waiting)}"
    better = [each.gate for each in evidence if each.verdict == Conclusion.BETTER]
    if better:
        return f"better: {', '.join(better)}; nothing else differs by more than is allowed"
    return "no difference larger than is allowed"


def _outlook(waiting: Sequence[Evidence]) -> str:
    """Say how much is still to come until these gates can be told."""
    ahead = [each.more_requests for each in waiting if each.more_requests is not None]
    unseen = [each.gate for each in waiting if each.more_requests is None]
    parts = [f"about {max(ahead):,} more requests"] if ahead else []
    if unseen:
        parts.append(f"nothing can be said yet on {', '.join(unseen)}")
    return "; ".join(parts)


def _demand(gate: Gate, strata: Sequence[Tally], name: str) -> _Demand:
    if isinstance(gate, MaxIncrease):
        failures = _difference(strata, lambda arm: (arm.failures, arm.requests))
        return _Demand(failures, gate.max_increase, True, 0.0, _same, "share")
    if isinstance(gate, MaxDecrease):
        right = _difference(strata, lambda arm: (arm.right, arm.right + arm.wrong))
        return _Demand(right, -gate.max_decrease, False, 0.0, _same, "share")
    if isinstance(gate, MaxRatio):
        level = {"p50_ratio": 0.5, "p99_ratio": 0.99}[name]
        pairs = [(tally.baseline.latency, tally.candidate.latency) for tally in strata]
        ratio = QuantileRatio.of(pairs, level)
        return _Demand(ratio, math.log(gate.max_ratio), True, 0.0, math.exp, "ratio")
    if isinstance(gate, MinShare):
        pairs_seen = sum((tally.pairs for tally in strata), PairTally())
        agreement = Mean.of_share(pairs_seen.agree, pairs_seen.agree + pairs_seen.disagree)
        return _Demand(agreement, gate.min_share, False, None, _same, "level")
    raise TypeError(f"no comparison for {name}: {gate!r}")


def _status(gate: Gate, strata: Sequence[Tally], name: str, alpha: float) -> Status:
    if isinstance(gate, MaxShift):
        return _STATUS[_mix(gate, strata).conclude(gate.max_shift, alpha)]
    demand = _demand(gate, strata, name)
    return _status_of(demand.comparison, demand, alpha)


def _status_of(comparison: Comparison, demand: _Demand, alpha: float) -> Status:
    if not comparison.requests or math.isnan(comparison.estimate):
        return Status.NO_DATA
    beyond, within = (exceeds, stays_below) if demand.worse_above else (stays_below, exceeds)
    if beyond(comparison, demand.limit, alpha):
        return Status.BREACHED
    return Status.PASSED if within(comparison, demand.limit, alpha) else Status.OPEN


def _explain(gate: Gate, strata: Sequence[Tally], name: str, alpha: float) -> Evidence:
    if isinstance(gate, MaxShift):
        return _explain_mix(gate, strata, name, alpha)
    demand = _demand(gate, strata, name)
    data = demand.comparison
    status = _status_of(data, demand, alpha)
    limit = demand.shown(demand.limit)
    if status is Status.NO_DATA:
        return _nothing(name, gate, limit)
    low, high = (demand.shown(end) for end in interval(data, alpha))
    more = None
    if status is Status.OPEN:
        ahead = forecast(data, lambda data: _status_of(data, demand, alpha) is not Status.OPEN)
        more = None if math.isinf(ahead) else int(ahead)
    estimate = demand.shown(data.estimate)
    verdict = _verdict(demand, status, low, high)
    sentence = (
        f"{_write(estimate, demand.unit)}, between {_write(low, demand.unit)} and "
        f"{_write(high, demand.unit)}; {_write(limit, demand.unit)} is allowed"
    )
    if not low <= estimate <= high:
        sentence += "; it differs from step to step"
    return Evidence(
        name, status, gate.required, limit, estimate, low, high, int(data.requests), more,
        verdict, sentence + _wait(status, more),
    )  # fmt: skip


def _explain_mix(gate: MaxShift, strata: Sequence[Tally], name: str, alpha: float) -> Evidence:
    mix = _mix(gate, strata)
    status = _STATUS[mix.conclude(gate.max_shift, alpha)]
    shift = mix.largest(alpha)
    if shift is None:
        return _nothing(name, gate, gate.max_shift)
    arms = [arm for tally in strata for arm in (tally.baseline, tally.candidate)]
    requests = sum(sum(arm.classes.values()) for arm in arms)
    sentence = (
        f"class {shift.label} moved most: {_write(shift.estimate, 'share')}, between "
        f"{_write(shift.low, 'share')} and {_write(shift.high, 'share')}; "
        f"{gate.max_shift:.1%} either way is allowed"
    )
    return Evidence(
        name, status, gate.required, gate.max_shift, shift.estimate, shift.low, shift.high,
        requests, None, _WORDS[status], sentence,
    )  # fmt: skip


def _nothing(name: str, gate: Gate, limit: float) -> Evidence:
    return Evidence(
        name, Status.NO_DATA, gate.required, limit, None, None, None, 0, None,
        Conclusion.NO_DATA, "nothing to compare yet",
    )  # fmt: skip


def _verdict(demand: _Demand, status: Status, low: float, high: float) -> str:
    """Give the verdict: within the limit first, then which way a difference is shown."""
    if demand.neutral is None:
        return _WORDS[status]
    neutral, limit = demand.shown(demand.neutral), demand.shown(demand.limit)
    other = demand.shown(-demand.limit)
    if min(limit, other) < low and high < max(limit, other):
        return Conclusion.SAME
    if low > neutral:
        return Conclusion.WORSE if demand.worse_above else Conclusion.BETTER
    if high < neutral:
        return Conclusion.BETTER if demand.worse_above else Conclusion.WORSE
    return _WORDS[status]


def _difference(
    strata: Sequence[Tally], counts: Callable[[ArmTally], tuple[int, int]]
) -> RateDifference:
    rows = [(*counts(tally.baseline), *counts(tally.candidate)) for tally in strata]
    return RateDifference.of(rows)


def _mix(gate: MaxShift, strata: Sequence[Tally]) -> ClassMix:
    pairs = [(tally.baseline.classes, tally.candidate.classes) for tally in strata]
    return ClassMix.of(pairs, gate.classes)


def _wait(status: Status, more: int | None) -> str:
    if status is not Status.OPEN:
        return ""
    return f"; about {more:,} more requests" if more else "; no end in sight"


def _write(value: float, unit: str) -> str:
    if unit == "ratio":
        return f"×{value:.2f}"
    return f"{value:+.2%}" if unit == "share" else f"{value:.2%}"


def _same(value: float) -> float:
    return value


_STATUS = {
    Conclusion.WORSE: Status.BREACHED,
    Conclusion.SAME: Status.PASSED,
    Conclusion.UNDECIDED: Status.OPEN,
    Conclusion.NO_DATA: Status.NO_DATA,
}
_WORDS = {
    Status.BREACHED: "worse than is allowed",
    Status.PASSED: "within what is allowed",
    Status.OPEN: "keep running",
    Status.NO_DATA: "no data",
}
