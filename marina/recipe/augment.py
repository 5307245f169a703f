"""The recipe's ``train.augment:`` and ``train.mix:``: random changes of the training images."""

from __future__ import annotations

from typing import Annotated, Self

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from marina.recipe.section import Fraction, Section

Share = Annotated[float, Field(gt=0, le=1)]


class RandAugment(Section):
    """RandAugment (Cubuk et al. 2019): so many random operations, each of this strength.

    Attributes:
        operations: Per image.
        magnitude: From 0 to 30.
    """

    operations: PositiveInt = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9


class Augment(Section):
    """Random changes of each training image, in this order; what is not named is off.

    Attributes:
        rotate_deg: Largest rotation either way, in degrees.
        translate: Largest shift, as a share of the side.
        zoom: Largest change of scale, as a share.
        random_resized_crop: Smallest share of the image's area that a crop may keep.
        pad_crop_px: Pad by so many pixels on each side, then crop at a random place.
        horizontal_flip: Mirror every other image.
        rand_augment: RandAugment's operations and magnitude.
        trivial_augment: One random operation of random strength (Müller & Hutter 2021).
        random_erasing: Share of the images in which a random rectangle is blanked
            (Zhong et al. 2017).
    """

    rotate_deg: NonNegativeFloat = 0
    translate: Fraction = 0
    zoom: Fraction = 0
    random_resized_crop: Share | None = None
    pad_crop_px: NonNegativeInt = 0
    horizontal_flip: bool = False
    rand_augment: RandAugment | None = None
    trivial_augment: bool = False
    random_erasing: Annotated[float, Field(ge=0, le=1)] = 0

    @pydantic.model_validator(mode="after")
    def _check_policies(self) -> Self:
        if self.rand_augment and self.trivial_augment:
            raise ValueError("choose rand_augment or trivial_augment, not both")
        if self.random_resized_crop and self.pad_crop_px:
            raise ValueError("choose random_resized_crop or pad_crop_px, not both")
        return self


class Mix(Section):
    """Mixing pairs of images of a batch and their targets; with both, each batch draws one.

    Attributes:
        mixup_alpha: Of the Beta distribution of Mixup's weights (Zhang et al. 2017); 0 is off.
        cutmix_alpha: Of the Beta distribution of CutMix's areas (Yun et al. 2019); 0 is off.
        probability: Share of the batches that are mixed.
    """

    mixup_alpha: NonNegativeFloat = 0
    cutmix_alpha: NonNegativeFloat = 0
    probability: Share = 1.0

    @pydantic.model_validator(mode="after")
    def _check_alphas(self) -> Self:
        if not self.mixup_alpha and not self.cutmix_alpha:
            raise ValueError("give mixup_alpha, cutmix_alpha or both a value above 0")
        return self
