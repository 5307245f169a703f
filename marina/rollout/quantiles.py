"""Latency: histograms that can be added, and the ratio of two arms' quantiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from marina.rollout.betting import FloatArray, log_e_share

# Bin j holds LOWEST_MS·GROWTHʲ up to the next: a hundredth of a millisecond to 1,000 s by 1%.
LOWEST_MS = 0.01
GROWTH = 1.01
BINS = math.ceil(math.log(1e6 / LOWEST_MS) / math.log(GROWTH))


def bin_of(latency_ms: float) -> int:
    """Give the bin of a latency in milliseconds."""
    if latency_ms <= LOWEST_MS:
        return 0
    return min(int(math.log(latency_ms / LOWEST_MS) / math.log(GROWTH)), BINS - 1)


def edge_ms(position: float) -> float:
    """Give the lower edge of a bin in milliseconds."""
    return float(LOWEST_MS * GROWTH**position)


def dense(histogram: Mapping[int, float]) -> FloatArray:
    """Give a sparse histogram as (BINS,)."""
    counts = np.zeros(BINS)
    for position, count in histogram.items():
        counts[position] = count
    return counts


def quantile_ms(counts: FloatArray, level: float) -> float:
    """Give the quantile of a histogram to 1%, in milliseconds; NaN if it is empty."""
    total = counts.sum()
    if not total:
        return math.nan
    position = int(np.searchsorted(counts.cumsum(), level * total))
    return edge_ms(min(position, BINS - 1) + 0.5)


@dataclass(frozen=True)
class QuantileRatio:
    """The log of the candidate's latency quantile over the baseline's.

    If x is the baseline's quantile at level p, each request is faster than x with probability p,
    whatever the distribution: that turns a quantile into a share, as in Howard & Ramdas,
    "Sequential estimation of quantiles with applications to A/B testing and best-arm
    identification", Bernoulli 28(3), 2022, arXiv:1906.09712. Against "the ratio is at most r"
    speaks the product of the baseline's evidence that its quantile is below x and the candidate's
    that its own is above r·x, at the x that makes it smallest. Each stratum has its own x, so a
    slow hour in which the weights changed is no difference of the arms.

    Bins round against the finding: a lower edge for one arm, an upper edge for the other. An end
    of the interval is therefore up to two bins (2%) wider than it need be.

    Attributes:
        baseline: (strata, BINS), counts.
        candidate: (strata, BINS).
        level: 0.5 for the median, 0.99 for p99.
    """

    baseline: FloatArray
    candidate: FloatArray
    level: float
    bounds: tuple[float, float] = (-math.log(1e4), math.log(1e4))

    @classmethod
    def of(
        cls, strata: Sequence[tuple[Mapping[int, float], Mapping[int, float]]], level: float
    ) -> Self:
        """Build from (baseline's, candidate's) sparse histograms per stratum."""
        rows = [(dense(base), dense(cand)) for base, cand in strata] or [
            (np.zeros(BINS), np.zeros(BINS))
        ]
        return cls(
            np.stack([base for base, _ in rows]), np.stack([cand for _, cand in rows]), level
        )

    @property
    def requests(self) -> float:
        """Requests of both arms."""
        return float(self.baseline.sum() + self.candidate.sum())

    @property
    def estimate(self) -> float:
        """Mean log ratio over the strata that have both arms, weighted by their information."""
        logs, weights = [], []
        for base, cand in zip(self.baseline, self.candidate, strict=True):
            if base.sum() and cand.sum():
                ratio = quantile_ms(cand, self.level) / quantile_ms(base, self.level)
                logs.append(math.log(ratio))
                weights.append(base.sum() * cand.sum() / (base.sum() + cand.sum()))
        return float(np.average(logs, weights=weights)) if logs else math.nan

    def log_e(self, effect: float, *, above: bool) -> float:
        """Give the log evidence that the log ratio lies above (or below) ``effect``."""
        if above:
            return self._log_e_slower(self.baseline, self.candidate, effect)
        return self._log_e_slower(self.candidate, self.baseline, -effect)

    def _log_e_slower(self, fast: FloatArray, slow: FloatArray, effect: float) -> float:
        """Give the log evidence that the quantile of ``slow`` over that of ``fast`` is larger."""
        shift = math.ceil(effect / math.log(GROWTH) - 1e-9)
        total = 0.0
        for one, other in zip(fast, slow, strict=True):
            below = np.concatenate([[0.0], one.cumsum()])  # (BINS + 1,), faster than each edge
            passed = np.concatenate([[0.0], other.cumsum()])
            bins = _occupied(one, other, shift)  # elsewhere the evidence stands still
            at = np.clip(bins + 1 + shift, 0, BINS)  # upper edge of the bin, times r
            first = log_e_share(below[bins], below[-1], self.level, above=True)
            second = log_e_share(passed[at], passed[-1], self.level, above=False)
            total += float((first + second).min())
        return total

    def scaled(self, factor: float) -> Self:
        """Give the same data ``factor`` times over."""
        return replace(self, baseline=self.baseline * factor, candidate=self.candidate * factor)


def _occupied(one: FloatArray, other: FloatArray, shift: int) -> NDArray[np.intp]:
    """Give the bins from the first to the last that either arm has, and one more at each end."""
    places = np.concatenate([np.flatnonzero(one), np.flatnonzero(other) - shift])
    if not places.size:
        return np.arange(1)
    return np.arange(max(places.min() - 2, 0), min(max(places.max() + 3, 1), BINS))
