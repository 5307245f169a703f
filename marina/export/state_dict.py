"""Export the weights alone, for `torch.load(…, weights_only=True)`.

The file holds ``{"model": state dict, "marina": JSON}``, which ``architecture.weights_file`` of a
recipe takes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from marina.export.metadata import KEY, metadata
from marina.train.architecture import build

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from marina.train.run import Run


def save(network: nn.Module, _: torch.Tensor, run: Run, file: Path) -> None:
    """Write the weights and what they are of."""
    torch.save({"model": network.state_dict(), KEY: metadata(run)}, file)


def load(file: Path, run: Run) -> nn.Module:
    """Build the network anew with the file's weights."""
    bare = run.recipe.architecture.model_copy(update={"weights": None, "weights_file": None})
    network = build(bare, len(run.labels), run.recipe.image.channels)
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["model"])
    return network.eval()
