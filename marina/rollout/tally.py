"""What was counted of each arm: small enough to log, and two of them add up."""

from __future__ import annotations

from typing import Any, Self

import pydantic


class Countable(pydantic.BaseModel):
    """Counts and histograms that add up, field by field. JSON and back without loss."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    def __add__(self, other: Self) -> Self:
        """Give the counts of both."""
        names = type(self).model_fields
        total = {name: _add(getattr(self, name), getattr(other, name)) for name in names}
        return type(self)(**total)


class ArmTally(Countable):
    """What one arm's own requests came to. Mirrored requests are not among them.

    Attributes:
        requests: Answered, rightly or not.
        assigned: Choices of the split: each request, or where it is sticky each user's first one.
        failures: Of those: 5xx, 429, or no answer at all.
        latency: Successful answers by the bin of `marina.rollout.quantiles.bin_of`.
        classes: Successful answers by their likeliest class.
        right: Answers whose label came back and was the same.
        wrong: Answers whose label came back and was another.
    """

    requests: int = 0
    assigned: int = 0
    failures: int = 0
    latency: dict[int, int] = {}
    classes: dict[str, int] = {}
    right: int = 0
    wrong: int = 0


class PairTally(Countable):
    """Requests that both arms answered: the client's one and the mirrored one.

    Attributes:
        agree: Both named the same class.
        disagree: They named two, or the mirrored request failed.
        both_right: Of those with a label.
        both_wrong: Of those with a label.
        baseline_only: Only the baseline was right.
        candidate_only: Only the candidate was right.
        confidence_shift: Candidate's confidence less the baseline's where they agree, in
            hundredths.
        latency_ratio: Candidate's latency over the baseline's, as log₁.₀₁ of it, rounded.
    """

    agree: int = 0
    disagree: int = 0
    both_right: int = 0
    both_wrong: int = 0
    baseline_only: int = 0
    candidate_only: int = 0
    confidence_shift: dict[int, int] = {}
    latency_ratio: dict[int, int] = {}


class Tally(Countable):
    """One stratum: a stretch of time in which the weights stood still."""

    baseline: ArmTally = ArmTally()
    candidate: ArmTally = ArmTally()
    pairs: PairTally = PairTally()


def _add(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {key: one.get(key, 0) + other.get(key, 0) for key in one | other}
    return one + other
