"""Is the split real: observed traffic against the declared weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from marina.rollout.comparison import interval
from marina.rollout.multinomial import log_e_multinomial
from marina.rollout.rates import Mean

Weights = Mapping[str, float]
Counts = Mapping[str, int]


@dataclass(frozen=True)
class ArmShare:
    """One arm's share of the traffic.

    Attributes:
        arm: Its version.
        requests: How many it got.
        declared: Share it should get; the mean over the stretches, weighted by their requests.
        observed: Share it got.
        low: Smallest share that is not rejected.
        high: Largest one.
    """

    arm: str
    requests: int
    declared: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class SplitCheck:
    """Whether requests were split as declared (a sample-ratio-mismatch test).

    Attributes:
        arms: Each arm's share.
        log_e: Log evidence against the declared weights.
        alpha: Chance, over all looks, that a true split is ever called a mismatch.
    """

    arms: tuple[ArmShare, ...]
    log_e: float
    alpha: float

    @property
    def mismatch(self) -> bool:
        """Whether the split is shown not to be the declared one."""
        return self.log_e >= math.log(1 / self.alpha)

    @property
    def p_value(self) -> float:
        """Always-valid p-value of this look."""
        return min(1.0, math.exp(-self.log_e))

    @property
    def sentence(self) -> str:
        """Say it plainly."""
        shares = ", ".join(
            f"{arm.arm} got {arm.observed:.2%} where {arm.declared:.2%} is declared"
            for arm in self.arms
        )
        total = sum(arm.requests for arm in self.arms)
        if not total:
            return "no requests yet: nothing to verify"
        if self.mismatch:
            return (
                f"the traffic is NOT split as declared: of {total:,} requests {shares} "
                f"(by chance at most once in {math.exp(min(self.log_e, 50)):,.0f} rollouts). No "
                "comparison of the arms is fair until this is explained"
            )
        return f"the traffic is split as declared: of {total:,} requests {shares}"

    def as_dict(self) -> dict[str, Any]:
        """Give the check for JSON."""
        return {
            "mismatch": self.mismatch,
            "p_value": self.p_value,
            "alpha": self.alpha,
            "arms": [asdict(arm) for arm in self.arms],
            "sentence": self.sentence,
        }


def verify_split(strata: Sequence[tuple[Weights, Counts]], alpha: float = 0.01) -> SplitCheck:
    """Hold observed counts against declared weights, stretch by stretch.

    Args:
        strata: For each stretch of unchanged weights: the weights, of any sum, and the requests
            that each arm got. Only requests that were free to go to any arm count: none with an
            explicit version or a forced arm.
        alpha: Chance of a false alarm, over all looks.
    """
    names = sorted({arm for stretch in strata for counted in stretch for arm in counted})
    log_e = 0.0
    got = dict.fromkeys(names, 0)
    due = dict.fromkeys(names, 0.0)
    for weights, counts in strata:
        total, whole = sum(counts.values()), sum(weights.values())
        for arm in names:
            got[arm] += counts.get(arm, 0)
            due[arm] += total * weights.get(arm, 0) / whole
        open_arms = [arm for arm in names if weights.get(arm, 0) > 0]
        if any(counts.get(arm, 0) for arm in names if arm not in open_arms):
            log_e = math.inf  # requests where none may come
        elif len(open_arms) > 1:
            shares = [weights[arm] / whole for arm in open_arms]
            log_e += float(log_e_multinomial([counts.get(arm, 0) for arm in open_arms], shares))
    total = sum(got.values())
    part = alpha / max(1, len(names))
    arms = tuple(_share(arm, got[arm], due[arm], total, part) for arm in names)
    return SplitCheck(arms, log_e, alpha)


def _share(arm: str, got: int, due: float, total: int, alpha: float) -> ArmShare:
    if not total:
        return ArmShare(arm, 0, 0.0, 0.0, 0.0, 1.0)
    low, high = interval(Mean.of_share(got, total), alpha)
    return ArmShare(arm, got, due / total, got / total, low, high)
