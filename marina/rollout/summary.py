"""The figures of a rollout: each arm's own, and both arms' on the same requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from marina.rollout.comparison import interval
from marina.rollout.multinomial import McNemar
from marina.rollout.quantiles import GROWTH, dense, quantile_ms
from marina.rollout.rates import Mean
from marina.rollout.tally import ArmTally, PairTally, Tally


@dataclass(frozen=True)
class Share:
    """A share with the interval that holds at every look.

    Attributes:
        hits: How many.
        trials: Out of how many.
        low: Smallest share that is not rejected.
        high: Largest one.
    """

    hits: int
    trials: int
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, trials: int, alpha: float) -> Share:
        """Give a share with its interval at 1 − alpha."""
        return cls(hits, trials, *interval(Mean.of_share(hits, trials), alpha))

    @property
    def share(self) -> float | None:
        """The share seen, None if there is none."""
        return self.hits / self.trials if self.trials else None


@dataclass(frozen=True)
class ArmSummary:
    """One arm's figures over the whole rollout.

    Attributes:
        version: Its version.
        requests: Answered, rightly or not.
        failures: Of those, with the interval of the rate.
        p50_ms: Median latency in milliseconds; None before there is one.
        p99_ms: 99th percentile.
        accuracy: Of the answers whose label came back.
    """

    version: str
    requests: int
    failures: Share
    p50_ms: float | None
    p99_ms: float | None
    accuracy: Share


@dataclass(frozen=True)
class PairSummary:
    """Both arms on the same requests, from the shadow.

    Attributes:
        agreement: Same class.
        candidate_only: Labelled requests on which only the candidate was right.
        baseline_only: Labelled requests on which only the baseline was right.
        labelled: Labelled requests that both answered.
        differs: Whether McNemar's test shows a difference, however often it was looked at.
        p_value: McNemar's exact test, for one look at the end.
        confidence_shift: Mean of the candidate's confidence less the baseline's, where they agree.
        latency_ratio: Median of the candidate's latency over the baseline's, request by request.
    """

    agreement: Share
    candidate_only: int
    baseline_only: int
    labelled: int
    differs: bool
    p_value: float
    confidence_shift: float | None
    latency_ratio: float | None


@dataclass(frozen=True)
class Summary:
    """All figures of a rollout."""

    baseline: ArmSummary
    candidate: ArmSummary
    pairs: PairSummary

    def as_dict(self) -> dict[str, Any]:
        """Give the figures for JSON."""
        return asdict(self)


def summarize(tallies: Sequence[Tally], versions: tuple[str, str], alpha: float = 0.05) -> Summary:
    """Give the figures of a rollout.

    The strata are thrown together: these are figures to look at. What is decided compares the
    arms stratum by stratum (`marina.rollout.gates`).

    Args:
        tallies: Of each stratum.
        versions: Of the baseline and the candidate.
        alpha: Of each interval.
    """
    total = sum(tallies, Tally())
    return Summary(
        _arm(total.baseline, versions[0], alpha),
        _arm(total.candidate, versions[1], alpha),
        _pairs(total.pairs, alpha),
    )


def _arm(arm: ArmTally, version: str, alpha: float) -> ArmSummary:
    latency = dense(arm.latency)
    p50, p99 = (quantile_ms(latency, level) for level in (0.5, 0.99))
    return ArmSummary(
        version=version,
        requests=arm.requests,
        failures=Share.of(arm.failures, arm.requests, alpha),
        p50_ms=None if math.isnan(p50) else p50,
        p99_ms=None if math.isnan(p99) else p99,
        accuracy=Share.of(arm.right, arm.right + arm.wrong, alpha),
    )


def _pairs(pairs: PairTally, alpha: float) -> PairSummary:
    mcnemar = McNemar(pairs.candidate_only, pairs.baseline_only)
    shifts = sum(pairs.confidence_shift.values())
    total_shift = sum(shift * count for shift, count in pairs.confidence_shift.items())
    both = pairs.both_right + pairs.both_wrong
    return PairSummary(
        agreement=Share.of(pairs.agree, pairs.agree + pairs.disagree, alpha),
        candidate_only=pairs.candidate_only,
        baseline_only=pairs.baseline_only,
        labelled=both + pairs.candidate_only + pairs.baseline_only,
        differs=mcnemar.differs(alpha),
        p_value=mcnemar.p_value,
        confidence_shift=total_shift / shifts / 100 if shifts else None,
        latency_ratio=_median_ratio(pairs.latency_ratio),
    )


def _median_ratio(ratios: dict[int, int]) -> float | None:
    half = sum(ratios.values()) / 2
    seen = 0
    for ratio, count in sorted(ratios.items()):
        seen += count
        if seen >= half:
            return float(GROWTH**ratio)
    return None
