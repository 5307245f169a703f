"""How near an export is to its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marina.progress import console as messages

if TYPE_CHECKING:
    from marina.export.parity import Parity


def parity(result: Parity) -> None:
    """Show how near the export's answers are to the network's."""
    allowed = "" if result.atol is None else f" (at most {result.atol:g})"
    messages.print(
        f"parity on {result.images} images: largest logit difference "
        f"{result.max_abs_logit_difference:.2g}{allowed}, "
        f"top-1 agreement {result.top1_agreement:.1%}"
    )
    if result.max_accuracy_loss is not None and result.accuracy is not None:
        messages.print(
            f"accuracy in {result.precision} {result.accuracy:.2%}, in fp32 "
            f"{result.network_accuracy:.2%}; a loss of {result.max_accuracy_loss:.2%} is allowed"
        )
