"""The recipe's ``train:``: how the network learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from marina.recipe.section import Fraction, Section


class Augment(Section):
    """Random changes of the training images; what is not named is off.

    Attributes:
        random_resized_crop: Smallest share of the image's area that a crop may keep.
        pad_crop_px: Pad by so many pixels on each side, then crop at a random place.
        horizontal_flip: Mirror every other image.
        rotate_deg: Largest rotation either way, in degrees.
        translate: Largest shift, as a share of the side.
        zoom: Largest change of scale, as a share.
    """

    random_resized_crop: Annotated[float, Field(gt=0, le=1)] | None = None
    pad_crop_px: NonNegativeInt = 0
    horizontal_flip: bool = False
    rotate_deg: NonNegativeFloat = 0
    translate: Fraction = 0
    zoom: Fraction = 0


class Train(Section):
    """How the network learns: SGD with Nesterov momentum or AdamW, warm-up, then a cosine.

    Attributes:
        epochs: Passes over the training split; 0 takes the first weights as they are.
        batch_size: Images per step.
        optimizer: ``sgd`` or ``adamw``.
        lr: Peak learning rate.
        momentum: Of SGD.
        weight_decay: Of weights; biases and norms are spared.
        label_smoothing: Share of the target spread over all classes.
        warmup_epochs: Epochs of linear warm-up; may be a fraction.
        seed: Of weights, order and augmentation.
        workers: Processes that load images; 0 loads in the training process.
        device: ``auto`` takes CUDA where there is one.
        augment: Random changes of the training images.
    """

    epochs: NonNegativeInt
    batch_size: PositiveInt = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 0.1
    momentum: Fraction = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    label_smoothing: Fraction = 0
    warmup_epochs: NonNegativeFloat = 0
    seed: NonNegativeInt = 0
    workers: NonNegativeInt = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    augment: Augment = Augment()
