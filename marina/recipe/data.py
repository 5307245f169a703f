"""The recipe's ``data:``: where the images are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import pydantic
from pydantic import Field, NonNegativeInt, PositiveInt

from marina.recipe.section import Fraction, Section

SplitName = Literal["train", "val", "test"]
# A list file needs an ending: it says whether the list is text or CSV.
_LISTS: dict[SplitName, str] = {"train": "train.txt", "val": "val.txt", "test": "test.txt"}
_FOLDERS: dict[SplitName, str] = {"train": "train", "val": "val", "test": "test"}


class Synthetic(Section):
    """Made-up pictures, for smoke tests: each class has its own colour and stripes, under noise.

    Attributes:
        classes: How many.
        images: In all, over all classes and splits.
        size_px: Side of the square.
    """

    classes: PositiveInt = 2
    images: PositiveInt = 64
    size_px: PositiveInt = 32

    @pydantic.model_validator(mode="after")
    def _check_images(self) -> Self:
        if self.images < 3 * self.classes:
            raise ValueError(
                f"{self.classes} classes need at least {3 * self.classes} images: one a split"
            )
        return self


class Data(Section):
    """Where the images are: an image folder ``root/<split>/<class>/*``, or what becomes one.

    Attributes:
        source: ``folder`` is there already. ``list`` reads ``path label`` lines. ``torchvision``
            (any data set in `marina.train.torchvision_source`), ``digits`` (scikit-learn's 1,797
            scans) and ``synthetic`` are written out once as an image folder. ``photographs`` are
            scikit-learn's two sample pictures, unlabelled: enough to prove parity, not to train.
        root: The image folder; for ``list`` the folder that its paths are relative to.
        dataset: For ``torchvision``: the data set's class, such as ``CIFAR10``.
        original: For ``torchvision``: its local root, which holds ``cifar-10-batches-py`` or what
            else that data set unpacks to.
        download: For ``torchvision``: fetch what is not in ``original`` yet.
        synthetic: For ``synthetic``: how many pictures, of what size.
        splits: For each split the folder below ``root``, or for ``list`` the file there, as text
            (``.txt``, the label is the line's last word) or CSV (``.csv``, ``path,label``).
        val_fraction: Share held out for validation where the source has no such split.
        test_fraction: Share held out for the test where the source has no such split.
        seed: Of the split, stratified by class.
        on_error: What an image that cannot be decoded does: ``fatal`` ends the work with the
            file's name, ``skip`` decodes every file beforehand and leaves out, by name, those that
            are damaged.
        labels: Class names for ``photographs``, by the name of torchvision's list.
    """

    source: Literal["folder", "list", "torchvision", "digits", "synthetic", "photographs"]
    root: Path
    dataset: str | None = None
    original: Path | None = None
    download: bool = False
    synthetic: Synthetic | None = None
    splits: dict[SplitName, str] = Field({}, validate_default=True)
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0
    on_error: Literal["fatal", "skip"] = "fatal"
    labels: Literal["imagenet"] | None = None

    @pydantic.field_validator("splits")
    @classmethod
    def _name_every_split(
        cls, splits: dict[SplitName, str], info: pydantic.ValidationInfo
    ) -> dict[SplitName, str]:
        return {**(_LISTS if info.data.get("source") == "list" else _FOLDERS), **splits}

    @pydantic.model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction leave nothing to train on")
        named = self.dataset is not None, self.original is not None
        if self.source == "torchvision" and not all(named):
            raise ValueError(
                "source torchvision needs `dataset`, such as CIFAR10, and `original`, its folder"
            )
        if self.source != "torchvision" and (any(named) or self.download):
            raise ValueError("`dataset`, `original` and `download` go with source torchvision only")
        if self.source != "synthetic" and self.synthetic is not None:
            raise ValueError("`synthetic` goes with source synthetic only")
        if (self.source == "photographs") != (self.labels is not None):
            raise ValueError("`labels` goes with source photographs, and only with it")
        return self
