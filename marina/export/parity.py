"""Parity: the exported model must answer as the network does, as near as its precision allows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from marina.errors import ParityError

if TYPE_CHECKING:
    from handlers.precision import Precision
    from marina.recipe import Serve
    from marina.train.dataset import Split

# Freezing and fusing fold batch norms into convolutions, which moves float32 logits by about 1e-5.
ATOL = 1e-3


@dataclass(frozen=True)
class Parity:
    """How near two models' answers to the same images are.

    Attributes:
        images: How many were compared.
        max_abs_logit_difference: The largest one over all images and classes.
        top1_agreement: Share of the images with the same top-1.
        atol: The logit difference that is let pass; None where accuracy decides.
        precision: Of the exported model.
        accuracy: Its top-1 accuracy on these images; None where they have no labels.
        network_accuracy: The network's.
        max_accuracy_loss: The loss that is let pass; None where the logit difference decides.
    """

    images: int
    max_abs_logit_difference: float
    top1_agreement: float
    atol: float | None = ATOL
    precision: Precision = "fp32"
    accuracy: float | None = None
    network_accuracy: float | None = None
    max_accuracy_loss: float | None = None

    @property
    def accuracy_loss(self) -> float:
        """Accuracy lost to the precision; without labels, the share of top-1 that changed."""
        if self.accuracy is None or self.network_accuracy is None:
            return 1 - self.top1_agreement
        return self.network_accuracy - self.accuracy

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as they stand in parity.json."""
        return asdict(self)


def check_parity(
    reference: torch.Tensor, exported: torch.Tensor, images: Split, serve: Serve
) -> Parity:
    """Compare two sets of logits (images, classes).

    In fp32 every logit must agree to ``ATOL``, and every top-1. In other precisions the accuracy
    may fall by at most ``serve.max_accuracy_loss``.

    Raises:
        ParityError: They differ by more, or a logit is not finite.
    """
    exact = serve.precision == "fp32"
    parity = Parity(
        images=len(reference),
        max_abs_logit_difference=float((reference - exported).abs().max()),
        top1_agreement=float((reference.argmax(1) == exported.argmax(1)).float().mean()),
        atol=ATOL if exact else None,
        precision=serve.precision,
        accuracy=_accuracy(exported, images),
        network_accuracy=_accuracy(reference, images),
        max_accuracy_loss=None if exact else serve.max_accuracy_loss,
    )
    if exact:
        # A NaN fails the comparison too.
        if not (parity.max_abs_logit_difference <= ATOL and parity.top1_agreement == 1.0):
            raise ParityError(
                f"the export does not answer as the network does: logits differ by up to "
                f"{parity.max_abs_logit_difference:.3g} (at most {ATOL:g} is right), top-1 agrees "
                f"on {parity.top1_agreement:.1%} of {parity.images} images. A network whose way "
                "depends on the image wants serve.torchscript=script. No model was written"
            )
    elif not (exported.isfinite().all() and parity.accuracy_loss <= serve.max_accuracy_loss):
        raise ParityError(
            f"precision {serve.precision} loses {parity.accuracy_loss:.2%} of top-1 on "
            f"{parity.images} test images, more than serve.max_accuracy_loss="
            f"{serve.max_accuracy_loss:g} allows: export with a higher precision. "
            "No model was written"
        )
    return parity


def _accuracy(logits: torch.Tensor, images: Split) -> float | None:
    if not images.labelled:
        return None
    return float((logits.argmax(1) == torch.tensor(images.targets)).float().mean())
