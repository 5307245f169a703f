"""Loading a TorchScript model for inference: one frozen graph from pixels to logits."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from handlers.preprocess import normalize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from handlers.image_spec import ImageSpec

# torch compiles a graph anew for each shape of its input, up to so many; its own rule would take
# shapes after the second for dynamic ones, which oneDNN Graph cannot fuse.
MOST_SHAPES = 20


class PixelModel(nn.Module):
    """A model with its normalization in front, so that a quarter of the bytes go to the device.

    Args:
        model: From normalized images (N, C, crop, crop), float32, to logits (N, classes).
        spec: How they are normalized.
    """

    def __init__(self, model: nn.Module, spec: ImageSpec) -> None:
        super().__init__()
        self._model = model
        self._spec = spec

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Give the logits (N, classes) of pixels (N, C, crop, crop), uint8."""
        logits: torch.Tensor = self._model(normalize(pixels, self._spec))
        return logits


def load_model(
    file: Path, spec: ImageSpec, device: torch.device, *, fusion: bool
) -> torch.jit.ScriptModule:
    """Load a TorchScript file onto a device, put the normalization in front, and freeze it there.

    Freezing folds batch norms and makes constants of the weights, which are then bound to the
    device; that is why it is done here and not at export.

    Args:
        file: What ``torch.jit.save`` wrote: from normalized images to logits.
        spec: How images are normalized.
        device: Where to run it.
        fusion: Whether oneDNN Graph fuses operations on a CPU. This is a setting of the whole
            process. It compiles each input shape in its first calls; some models it cannot take.

    Returns:
        The frozen module, from pixels (N, C, crop, crop), uint8, to logits (N, classes).
    """
    with warnings.catch_warnings():
        # torch announces TorchScript's successor on each use. TorchServe would log each as a
        # warning; it can go when TorchServe reads another format.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.enable_onednn_fusion(fusion and device.type == "cpu")
        torch.jit.set_fusion_strategy([("STATIC", MOST_SHAPES)])
        module = torch.jit.load(file, map_location=device)  # type: ignore[no-untyped-call]
        module = module.eval().to(memory_format=torch.channels_last)
        blank = torch.zeros(
            1, spec.channels, spec.crop, spec.crop, dtype=torch.uint8, device=device
        )  # (N, C, H, W)
        with torch.no_grad():
            normalize(blank, spec)  # keeps mean and std, which the trace takes for constants
            whole = PixelModel(module, spec).eval()
            traced = torch.jit.trace(whole, blank, check_trace=False)  # type: ignore[no-untyped-call]
        frozen: torch.jit.ScriptModule = torch.jit.freeze(traced)
    return frozen


def twin(model: torch.jit.ScriptModule) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Give a frozen model a second time: it has the same weights, but is compiled apart.

    oneDNN Graph compiles for the number of threads of its first run.

    Returns:
        From pixels to logits, as the model; None where the graph needs its module.
    """
    graph: Any = model.graph.copy()
    if next(graph.inputs()).uses():
        return None
    graph.eraseInput(0)
    again: Callable[[torch.Tensor], torch.Tensor]
    again = torch._C._create_function_from_graph("forward", graph)  # noqa: SLF001 - no public way
    return again
