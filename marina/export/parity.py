"""Parity: the exported model must answer as the network does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from marina.errors import ParityError

# Freezing folds batch norms into convolutions, which moves float32 logits by about 1e-5.
ATOL = 1e-3


@dataclass(frozen=True)
class Parity:
    """How near two models' answers to the same images are.

    Attributes:
        images: How many were compared.
        max_abs_logit_difference: The largest one over all images and classes.
        top1_agreement: Share of the images with the same top-1.
        atol: The difference that is let pass.
    """

    images: int
    max_abs_logit_difference: float
    top1_agreement: float
    atol: float

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as they stand in parity.json."""
        return asdict(self)


def check_parity(reference: torch.Tensor, exported: torch.Tensor, atol: float = ATOL) -> Parity:
    """Compare two sets of logits (images, classes).

    Raises:
        ParityError: A logit is off by more than ``atol``, is not finite, or a top-1 differs.
    """
    difference = float((reference - exported).abs().max())
    agreement = float((reference.argmax(1) == exported.argmax(1)).float().mean())
    if not (difference <= atol and agreement == 1.0):  # a NaN fails both comparisons
        raise ParityError(
            f"TorchScript does not answer as the network does: logits differ by up to "
            f"{difference:.3g} (at most {atol:g} is right), top-1 agrees on {agreement:.1%} of "
            f"{len(reference)} images. No model was written"
        )
    return Parity(len(reference), difference, agreement, atol)
