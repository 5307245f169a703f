"""The typed form of a ``rollout.yaml``: from which version to which, by which steps and gates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
import yaml
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from marina.errors import RolloutError
from marina.recipe.section import Section
from marina.recipe.validation import read_mapping, validate

Share = Annotated[float, Field(gt=0, lt=1)]
Ratio = Annotated[float, Field(gt=1)]
OnTrouble = Literal["rollback", "pause"]


class Step(Section):
    """How much of the traffic the candidate gets, and for how long at least.

    Attributes:
        weight: Percent of the requests that go to the candidate.
        min_requests: So many of the candidate's answers in this step.
        min_time_s: So long in this step, in seconds.
    """

    weight: Annotated[int, Field(ge=1, le=99)]
    min_requests: PositiveInt = 100
    min_time_s: NonNegativeFloat = 0.0


class Gate(Section):
    """What every gate has.

    Attributes:
        required: Whether the gate must be shown to hold before the promotion. If not, only its
            breach counts.
    """

    required: bool = True


class MaxIncrease(Gate):
    """The candidate's rate may be higher by at most this share of the requests."""

    max_increase: Share


class MaxRatio(Gate):
    """The candidate's latency quantile may be at most so many times the baseline's."""

    max_ratio: Ratio


class MaxShift(Gate):
    """No class's share of the answers may move by more.

    Attributes:
        max_shift: As a share of the answers.
        classes: How many classes the model has; the chance of a false alarm is shared among them.
    """

    max_shift: Share
    classes: PositiveInt


class MinShare(Gate):
    """The share of mirrored requests on which both arms name the same class."""

    min_share: Share


class MaxDecrease(Gate):
    """The candidate's accuracy may be lower by at most this much, once labels come."""

    max_decrease: Share
    required: bool = False


class Gates(Section):
    """What must hold; a gate that is not named is not kept.

    Attributes:
        alpha: Chance that any of the gates ever raises a false alarm, shared among them.
        error_rate: Failed answers (5xx, 429, none at all).
        p50_ratio: Median latency of the answers.
        p99_ratio: 99th percentile of the latency.
        class_mix: Shares of the classes among the answers.
        shadow_agreement: Same class in both arms, on mirrored requests.
        accuracy: Against the labels that came back.
    """

    alpha: Share = 0.05
    error_rate: MaxIncrease | None = None
    p50_ratio: MaxRatio | None = None
    p99_ratio: MaxRatio | None = None
    class_mix: MaxShift | None = None
    shadow_agreement: MinShare | None = None
    accuracy: MaxDecrease | None = None

    @property
    def kept(self) -> dict[str, Gate]:
        """The gates that are named, by name."""
        each = {name: getattr(self, name) for name in type(self).model_fields if name != "alpha"}
        return {name: gate for name, gate in each.items() if gate is not None}

    @property
    def alpha_each(self) -> float:
        """One gate's part of alpha; the test of the split itself has a part too."""
        return self.alpha / (len(self.kept) + 1)

    @pydantic.model_validator(mode="after")
    def _keep_one(self) -> Self:
        if not self.kept:
            raise ValueError("name at least one gate: without any, nothing would stop a bad model")
        return self


class Abort(Section):
    """What happens if something goes wrong.

    Attributes:
        on_breach: When a gate is shown not to hold.
        on_split_mismatch: When the traffic is not split as declared; no comparison is fair then.
        max_time_s: Longest time from the start, in seconds; None for no end.
        on_timeout: When that is over.
    """

    on_breach: OnTrouble = "rollback"
    on_split_mismatch: Literal["rollback", "pause", "ignore"] = "pause"
    max_time_s: PositiveFloat | None = None
    on_timeout: OnTrouble = "rollback"


class Shadow(Section):
    """Requests to the baseline that are sent to the candidate too; the client never notices.

    Attributes:
        percent: Of the baseline's requests.
        keep_images_percent: Of the disagreements whose image is kept for the report; 0 keeps none.
    """

    percent: Annotated[int, Field(ge=1, le=100)]
    keep_images_percent: Annotated[int, Field(ge=0, le=100)] = 0


class RolloutSpec(Section):
    """A rollout: which versions, which steps, which gates, and what if.

    Attributes:
        model: Name of the model.
        baseline: The version that answers now; in quotes, 1.10 is not a number.
        candidate: The version that shall take over; in quotes.
        steps: The candidate's share, never falling.
        gates: What must hold.
        abort: What if it does not.
        shadow: Mirroring; None for none.
        sticky_header: A request header, such as x-user-id, that keeps a user at one version.
    """

    model: Annotated[str, Field(min_length=1)]
    baseline: Annotated[str, Field(min_length=1)]
    candidate: Annotated[str, Field(min_length=1)]
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    gates: Gates
    abort: Abort = Abort()
    shadow: Shadow | None = None
    sticky_header: str | None = None

    @pydantic.field_validator("baseline", "candidate", mode="before")
    @classmethod
    def _refuse_numbers(cls, version: object) -> object:
        if isinstance(version, int | float):
            raise ValueError(f'a version is text: write "{version}" in quotes')  # noqa: TRY004
        return version

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.baseline == self.candidate:
            raise ValueError("baseline and candidate must be two versions")
        weights = [step.weight for step in self.steps]
        if weights != sorted(weights):
            raise ValueError(f"the steps' weights must not fall: {weights}")
        if self.gates.shadow_agreement and not self.shadow:
            raise ValueError("gates.shadow_agreement needs `shadow:` with its percent")
        return self

    def as_yaml(self) -> str:
        """Give the whole specification as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def read_rollout(path: Path) -> RolloutSpec:
    """Read a ``rollout.yaml``.

    Raises:
        RolloutError: The file is missing, is not YAML, or breaks a rule; the message names each
            key and, for an unknown one, the nearest valid one.
    """
    absent = f"no rollout at {path}: {{}}. A shipped one: models/rollouts/resnet.yaml"
    content = read_mapping(path, RolloutError, absent)
    return validate(RolloutSpec, content, RolloutError, f"{path} breaks the rollout's rules:")
