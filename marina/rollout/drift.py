"""Class mix: does the candidate name the classes as often as the baseline does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marina.rollout.comparison import Conclusion, interval
from marina.rollout.rates import RateDifference

Mix = Mapping[str, float]


@dataclass(frozen=True)
class ClassShift:
    """The class whose share of the answers differs most.

    Attributes:
        label: The class.
        estimate: Candidate's share less the baseline's.
        low: Smallest difference that is not rejected.
        high: Largest one.
    """

    label: str
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassMix:
    """Shares of the classes among the answers of each arm, stratum by stratum.

    Each class is a `RateDifference`; α is shared out among all classes that the model has
    (Bonferroni), so that the largest of many shifts does not alarm by its number.

    Attributes:
        labels: Classes seen.
        shifts: Arrays of shape (labels, strata).
        classes: How many classes the model has, seen or not.
    """

    labels: tuple[str, ...]
    shifts: RateDifference
    classes: int

    @classmethod
    def of(cls, strata: Sequence[tuple[Mix, Mix]], classes: int) -> ClassMix:
        """Build from (baseline's, candidate's) answers per class, one pair per stratum."""
        labels = tuple(sorted({label for pair in strata for mix in pair for label in mix}))
        hits = np.array(
            [[[mix.get(label, 0.0) for mix in pair] for pair in strata] for label in labels]
        ).reshape(len(labels), len(strata), 2)
        trials = np.broadcast_to(hits.sum(axis=0), hits.shape)
        shifts = RateDifference(hits[..., 0], trials[..., 0], hits[..., 1], trials[..., 1])
        return cls(labels, shifts, max(classes, len(labels)))

    def conclude(self, largest_shift: float, alpha: float) -> Conclusion:
        """Say `WORSE` if a class's share moved by more, `SAME` if none did."""
        if not self._both_arms():
            return Conclusion.NO_DATA
        threshold = math.log(2 * self.classes / alpha)
        moved = {
            (sign, above): self.shifts.log_e_each(sign * largest_shift, above=above) >= threshold
            for sign in (-1, 1)
            for above in (True, False)
        }
        if (moved[1, True] | moved[-1, False]).any():
            return Conclusion.WORSE
        if (moved[1, False] & moved[-1, True]).all():
            return Conclusion.SAME
        return Conclusion.UNDECIDED

    def largest(self, alpha: float) -> ClassShift | None:
        """Give the class that differs most, with its interval; None before both arms answered."""
        if not self._both_arms():
            return None
        each = [self._of_class(position) for position in range(len(self.labels))]
        position = max(range(len(each)), key=lambda i: abs(each[i].estimate))
        low, high = interval(each[position], alpha / self.classes)
        return ClassShift(self.labels[position], each[position].estimate, low, high)

    def _both_arms(self) -> bool:
        trials = self.shifts.baseline_trials * self.shifts.candidate_trials
        return bool(trials.any())

    def _of_class(self, position: int) -> RateDifference:
        shifts = self.shifts
        return RateDifference(
            shifts.baseline_hits[position],
            shifts.baseline_trials[position],
            shifts.candidate_hits[position],
            shifts.candidate_trials[position],
        )
