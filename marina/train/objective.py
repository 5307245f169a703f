"""What training minimizes: the cross-entropy with its smoothing and class weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from marina.errors import TrainError

if TYPE_CHECKING:
    from marina.recipe import Train
    from marina.train.dataset import Split


def objective(train: Train, split: Split, device: torch.device) -> nn.CrossEntropyLoss:
    """Give the loss, summed over images, not averaged.

    What it is to be divided by is the whole step's number of images, which pieces of a batch and
    processes do not see.

    Raises:
        TrainError: ``class_weights`` has not one number a class.
    """
    weights = class_weights(train, split)
    return nn.CrossEntropyLoss(
        weight=None if weights is None else weights.to(device),
        label_smoothing=train.label_smoothing,
        reduction="sum",
    )


def class_weights(train: Train, split: Split) -> torch.Tensor | None:
    """Give each class's weight, float32 (classes,); their mean over the training images is 1.

    Raises:
        TrainError: There is not one number a class.
    """
    if train.class_weights is None:
        return None
    counts = torch.bincount(torch.tensor(split.targets), minlength=len(split.labels)).float()
    if train.class_weights == "balanced":
        weights = 1 / counts.clamp_min(1)
    elif len(train.class_weights) == len(split.labels):
        weights = torch.tensor(train.class_weights)
    else:
        raise TrainError(
            f"train.class_weights has {len(train.class_weights)} numbers for "
            f"{len(split.labels)} classes: {', '.join(split.labels)}"
        )
    return weights * counts.sum() / (weights * counts).sum()
