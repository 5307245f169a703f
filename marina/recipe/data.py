"""The recipe's ``data:``: where the images are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import pydantic
from pydantic import Field, NonNegativeInt

from marina.recipe.section import Fraction, Section

SplitName = Literal["train", "val", "test"]


class Data(Section):
    """Where the images are: an image folder ``root/<split>/<class>/*``, or what becomes one.

    Attributes:
        source: ``folder`` is there already. ``digits`` (scikit-learn's 1,797 scans) and
            ``cifar10`` are written out once as such a folder. ``photographs`` are scikit-learn's
            two sample pictures, unlabelled: enough to prove parity, not to train.
        root: The image folder.
        original: For ``cifar10``: the folder that holds ``cifar-10-batches-py``.
        splits: The folder below ``root`` for each split.
        val_fraction: Share held out for validation where the source has no such split.
        test_fraction: Share held out for the test where the source has no such split.
        seed: Of the split, stratified by class.
        labels: Class names for ``photographs``, by the name of torchvision's list.
    """

    source: Literal["folder", "digits", "cifar10", "photographs"]
    root: Path
    original: Path | None = None
    splits: dict[SplitName, str] = Field({"train": "train", "val": "val", "test": "test"})
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0
    labels: Literal["imagenet"] | None = None

    @pydantic.field_validator("splits")
    @classmethod
    def _name_every_split(cls, splits: dict[SplitName, str]) -> dict[SplitName, str]:
        return {"train": "train", "val": "val", "test": "test", **splits}

    @pydantic.model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source == "cifar10" and self.original is None:
            raise ValueError("source cifar10 needs `original`: the folder of cifar-10-batches-py")
        if (self.source == "photographs") != (self.labels is not None):
            raise ValueError("`labels` goes with source photographs, and only with it")
        return self
