"""The recipe's ``train.schedule:``: how the learning rate falls after the warm-up.

Each kind is a section of its own, so that a key of another kind is refused by name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from marina.recipe.section import Section

Factor = Annotated[float, Field(gt=0, lt=1)]


class Constant(Section):
    """The learning rate stays."""

    kind: Literal["constant"]


class Cosine(Section):
    """Half a cosine, down to a floor (Loshchilov & Hutter 2017, without restarts).

    Attributes:
        floor: Last learning rate, as a share of the peak.
    """

    kind: Literal["cosine"]
    floor: Annotated[float, Field(ge=0, lt=1)] = 0


class Step(Section):
    """Times ``gamma`` at regular intervals.

    Attributes:
        every_epochs: The interval, warm-up included.
        gamma: The factor.
    """

    kind: Literal["step"]
    every_epochs: PositiveInt
    gamma: Factor = 0.1


class MultiStep(Section):
    """Times ``gamma`` after each of the named epochs.

    Attributes:
        after_epochs: Such as [30, 60], warm-up included.
        gamma: The factor.
    """

    kind: Literal["multi_step"]
    after_epochs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    gamma: Factor = 0.1


class OneCycle(Section):
    """Up and down along two half cosines (Smith & Topin 2017, as torch's OneCycleLR).

    Attributes:
        rise: Share of all steps in which the learning rate rises.
        first_divisor: The peak over the first learning rate.
        last_divisor: The first learning rate over the last.
    """

    kind: Literal["one_cycle"]
    rise: Factor = 0.3
    first_divisor: PositiveFloat = 25
    last_divisor: PositiveFloat = 1e4


class Plateau(Section):
    """Times ``gamma`` when the validation loss has stopped falling.

    Attributes:
        patience_epochs: So many epochs without a new lowest loss are borne.
        gamma: The factor.
        min_improvement: A loss counts as lower only if it is so by this share.
    """

    kind: Literal["plateau"]
    patience_epochs: NonNegativeInt = 5
    gamma: Factor = 0.1
    min_improvement: NonNegativeFloat = 1e-4


Schedule = Annotated[
    Constant | Cosine | Step | MultiStep | OneCycle | Plateau, Field(discriminator="kind")
]
