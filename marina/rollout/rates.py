"""Rates: the difference between two arms, and the mean of paired or single outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from marina.rollout.betting import FloatArray, log_e_mean, log_e_share


@dataclass(frozen=True)
class RateDifference:
    """The rate of something in the candidate less its rate in the baseline.

    The baseline's own rate x is unknown. Against "the difference is at most d" speaks the product
    of two e-processes, the baseline's against "my rate is at least x" and the candidate's against
    "my rate is at most x + d", at the x that makes it smallest: the true x is one of them, so the
    smallest is no larger than an e-process. (The same device as in Howard & Ramdas, "Sequential
    estimation of quantiles", Bernoulli 28(3), 2022, section 5, for quantiles of two arms.)

    Each stratum has its own x: a rate that changes between the steps of a rollout, where the
    weights change too, would otherwise look like a difference of the arms (Simpson's paradox).
    Nothing is assumed of the weights themselves.

    Attributes:
        baseline_hits: (..., strata), how often it happened in the baseline.
        baseline_trials: (..., strata), out of how many requests.
        candidate_hits: (..., strata), the same of the candidate.
        candidate_trials: (..., strata).
    """

    baseline_hits: FloatArray
    baseline_trials: FloatArray
    candidate_hits: FloatArray
    candidate_trials: FloatArray
    bounds: tuple[float, float] = (-1.0, 1.0)

    @classmethod
    def of(cls, strata: Sequence[tuple[float, float, float, float]]) -> Self:
        """Build from (baseline hits, its trials, candidate hits, its trials) per stratum."""
        columns = np.asarray(strata, dtype=np.float64).reshape(-1, 4).T
        return cls(*columns)

    @property
    def requests(self) -> float:
        """Requests of both arms."""
        return float(self.baseline_trials.sum() + self.candidate_trials.sum())

    @property
    def estimate(self) -> float:
        """Mean difference over the strata that have both arms, weighted by their information."""
        trials = self.baseline_trials * self.candidate_trials
        both = trials > 0
        if not both.any():
            return math.nan
        weight = trials[both] / (self.baseline_trials + self.candidate_trials)[both]
        rates = self.candidate_hits[both] / self.candidate_trials[both]
        rates -= self.baseline_hits[both] / self.baseline_trials[both]
        return float((weight * rates).sum() / weight.sum())

    def log_e(self, effect: float, *, above: bool) -> float:
        """Give the log evidence that the difference lies above (or below) ``effect``."""
        return float(self.log_e_each(effect, above=above))

    def log_e_each(self, effect: float, *, above: bool) -> FloatArray:
        """Give `log_e` of many comparisons at once, (...)."""
        shape = self.baseline_hits.shape
        smallest = minimum(
            lambda rate: self.log_e_at(rate, effect, above=above),
            np.full(shape, max(0.0, -effect)),
            np.full(shape, min(1.0, 1.0 - effect)),
        )
        evidence: FloatArray = smallest.sum(axis=-1)
        return evidence

    def log_e_at(self, rate: ArrayLike, effect: float, *, above: bool) -> FloatArray:
        """Give each stratum's evidence if the baseline's rate were ``rate``, (..., strata)."""
        base = np.asarray(rate, dtype=np.float64)
        return log_e_share(
            self.baseline_hits, self.baseline_trials, base, above=not above
        ) + log_e_share(self.candidate_hits, self.candidate_trials, base + effect, above=above)

    def scaled(self, factor: float) -> Self:
        """Give the same data ``factor`` times over."""
        return replace(
            self,
            baseline_hits=self.baseline_hits * factor,
            baseline_trials=self.baseline_trials * factor,
            candidate_hits=self.candidate_hits * factor,
            candidate_trials=self.candidate_trials * factor,
        )


@dataclass(frozen=True)
class Mean:
    """The mean of single outcomes: an arm's accuracy, agreement, a paired difference.

    Attributes:
        values: (V,), what an outcome can be; the smallest and largest are its bounds.
        counts: (V,), how often each was seen.
    """

    values: FloatArray
    counts: FloatArray

    @classmethod
    def of_share(cls, successes: float, trials: float) -> Self:
        """Build the mean of ``successes`` ones and the rest zeros."""
        return cls(np.array([0.0, 1.0]), np.array([trials - successes, successes], dtype=float))

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value an outcome can take."""
        return float(self.values.min()), float(self.values.max())

    @property
    def requests(self) -> float:
        """Outcomes seen."""
        return float(self.counts.sum())

    @property
    def estimate(self) -> float:
        """The mean seen."""
        return float(self.values @ self.counts / self.requests) if self.requests else math.nan

    def log_e(self, effect: float, *, above: bool) -> float:
        """Give the log evidence that the mean lies above (or below) ``effect``."""
        return float(log_e_mean(self.values, self.counts, effect, above=above))

    def scaled(self, factor: float) -> Self:
        """Give the same data ``factor`` times over."""
        return replace(self, counts=self.counts * factor)


def minimum(
    function: Callable[[FloatArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
    points: int = 65,
    rounds: int = 4,
) -> FloatArray:
    """Give the smallest value of convex functions, one for each element of ``low``.

    Args:
        function: Takes (points, ...) and gives the values there, (points, ...).
        low: (...), where to begin.
        high: (...), where to end.
        points: Of the grid, laid anew around the smallest in each round.
        rounds: Four rounds of 65 points narrow the range by 10⁶.
    """
    grid = np.linspace(0.0, 1.0, points).reshape(points, *([1] * low.ndim))
    best = np.full(low.shape, np.inf)
    for _ in range(rounds):
        found = function(low + grid * (high - low))  # (points, ...)
        best = np.minimum(best, found.min(axis=0))
        at = found.argmin(axis=0)
        step = (high - low) / (points - 1)
        low, high = low + np.maximum(at - 1, 0) * step, low + np.minimum(at + 1, points - 1) * step
    return best
