"""The recipe's ``architecture:``: which network, and its first weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import pydantic

from marina.recipe.section import Section


class Architecture(Section):
    """Which network, and where its first weights come from.

    Attributes:
        name: Any of torchvision's classification models, such as ``resnet18``.
        stem: ``cifar`` gives a ResNet a 3×3 stride-1 first convolution and no max-pooling, for
            images of about 32 px (He et al. 2015, section 4.2). ``imagenet`` is torchvision's own.
        weights: Name of torchvision's pretrained weights, such as ``IMAGENET1K_V1``: from its
            cache, or downloaded where the network allows.
        weights_file: A state dict to start from instead.
    """

    name: str
    stem: Literal["imagenet", "cifar"] = "imagenet"
    weights: str | None = None
    weights_file: Path | None = None

    @pydantic.model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.weights and self.weights_file:
            raise ValueError("give `weights` or `weights_file`, not both")
        return self
