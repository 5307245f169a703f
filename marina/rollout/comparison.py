"""From evidence to words: better, worse, no difference larger than δ, or keep running.

A `Comparison` is anything that can tell how strongly its data speak against an effect. Its
interval holds the effects that are not rejected: with probability 1 − α the true one is in it at
every look at once (a confidence sequence; Howard, Ramdas, McAuliffe & Sekhon, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self, TypeVar

FAR = 1000.0  # no forecast beyond so many times the data at hand


class Comparison(Protocol):
    """Data of two arms and what they say about the effect: candidate against baseline."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest effect there can be."""

    @property
    def requests(self) -> float:
        """How many requests the data come from."""

    @property
    def estimate(self) -> float:
        """The effect seen, NaN if there is none."""

    def log_e(self, effect: float, *, above: bool) -> float:
        """Give the log evidence that the true effect lies above (or below) ``effect``."""

    def scaled(self, factor: float) -> Self:
        """Give the same data ``factor`` times over, to see ahead."""


Compared = TypeVar("Compared", bound=Comparison)


class Conclusion(StrEnum):
    """What can be said by now."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "no difference larger than the margin"
    UNDECIDED = "keep running"
    NO_DATA = "no data"


@dataclass(frozen=True)
class Verdict:
    """What the data say about one comparison.

    Attributes:
        conclusion: In a word.
        estimate: The effect seen.
        low: Smallest effect that is not rejected.
        high: Largest one.
        margin: An effect within ± margin does not matter.
        alpha: The chance, over all looks, that the true effect is ever outside of low to high.
        requests: Behind the verdict.
        more_requests: About so many more until something can be said, if what was seen goes on;
            None if something is said already, infinity if that is too far to see.
    """

    conclusion: Conclusion
    estimate: float
    low: float
    high: float
    margin: float
    alpha: float
    requests: float
    more_requests: float | None = None


def interval(comparison: Comparison, alpha: float, tolerance: float = 1e-5) -> tuple[float, float]:
    """Give the effects that are not rejected, as their smallest and largest.

    Args:
        comparison: The data.
        alpha: Chance, over all looks, that the interval ever misses the true effect; half of it
            on each side.
        tolerance: Precision of the ends.
    """
    threshold = math.log(2 / alpha)
    lowest, highest = comparison.bounds

    def end(*, above: bool) -> float:
        inside, outside = (highest, lowest) if above else (lowest, highest)
        while abs(inside - outside) > tolerance:
            middle = (inside + outside) / 2
            if comparison.log_e(middle, above=above) >= threshold:
                outside = middle
            else:
                inside = middle
        return outside

    return end(above=True), end(above=False)


def exceeds(comparison: Comparison, effect: float, alpha: float) -> bool:
    """Tell whether the effect is shown to lie above ``effect``."""
    return comparison.log_e(effect, above=True) >= math.log(2 / alpha)


def stays_below(comparison: Comparison, effect: float, alpha: float) -> bool:
    """Tell whether the effect is shown to lie below ``effect``."""
    return comparison.log_e(effect, above=False) >= math.log(2 / alpha)


def conclude(
    comparison: Comparison, margin: float, alpha: float, *, higher_is_better: bool
) -> Conclusion:
    """Say what is shown. An effect within the margin is no difference, even if it is not zero."""
    if not comparison.requests or math.isnan(comparison.estimate):
        return Conclusion.NO_DATA
    if exceeds(comparison, -margin, alpha) and stays_below(comparison, margin, alpha):
        return Conclusion.SAME
    if exceeds(comparison, 0.0, alpha):
        return Conclusion.BETTER if higher_is_better else Conclusion.WORSE
    if stays_below(comparison, 0.0, alpha):
        return Conclusion.WORSE if higher_is_better else Conclusion.BETTER
    return Conclusion.UNDECIDED


def judge(
    comparison: Comparison, margin: float, alpha: float, *, higher_is_better: bool
) -> Verdict:
    """Give the verdict with its interval, and a forecast if there is none yet."""
    conclusion = conclude(comparison, margin, alpha, higher_is_better=higher_is_better)
    low, high = comparison.bounds
    more = None
    if conclusion is not Conclusion.NO_DATA:
        low, high = interval(comparison, alpha)
    if conclusion is Conclusion.UNDECIDED:
        more = forecast(
            comparison,
            lambda ahead: (
                conclude(ahead, margin, alpha, higher_is_better=higher_is_better)
                is not Conclusion.UNDECIDED
            ),
        )
    return Verdict(
        conclusion,
        comparison.estimate,
        low,
        high,
        margin,
        alpha,
        comparison.requests,
        more,
    )


def forecast(comparison: Compared, concludes: Callable[[Compared], bool]) -> float:
    """Tell about how many more requests a conclusion needs if what was seen goes on.

    The counts are multiplied until they conclude, as if the shares seen were the true ones: an
    estimate of effort, not a promise. Infinity beyond `FAR` times the data.

    Args:
        comparison: The data.
        concludes: Tells whether so much data would be enough.
    """
    below, enough = 1.0, 2.0
    while not concludes(comparison.scaled(enough)):
        below, enough = enough, enough * 2
        if enough > FAR:
            return math.inf
    while enough / below > 1.05:
        middle = math.sqrt(below * enough)
        if concludes(comparison.scaled(middle)):
            enough = middle
        else:
            below = middle
    return math.ceil(comparison.requests * (enough - 1))
