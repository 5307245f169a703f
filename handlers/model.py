"""Loading a TorchScript model for inference."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path


def load_model(file: Path, device: torch.device) -> torch.jit.ScriptModule:
    """Load a TorchScript file onto a device and freeze it there.

    Freezing folds batch norms and makes constants of the weights, which are then bound to the
    device; that is why it is done here and not at export.

    Args:
        file: What ``torch.jit.save`` wrote.
        device: Where to run it.

    Returns:
        The frozen module, in evaluation mode.
    """
    with warnings.catch_warnings():
        # torch announces TorchScript's successor on each use. TorchServe would log each as a
        # warning; it can go when TorchServe reads another format.
        warnings.simplefilter("ignore", FutureWarning)
        module = torch.jit.load(file, map_location=device)  # type: ignore[no-untyped-call]
        frozen: torch.jit.ScriptModule = torch.jit.freeze(module.eval())
    return frozen
