"""Export to ONNX; the batch size stays free. onnxruntime proves it, and is no server's."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from handlers.onnx_runtime import INPUT, OUTPUT
from marina.errors import ExportError
from marina.export.metadata import KEY, metadata
from marina.export.program import BATCH, first_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from marina.train.run import Run

_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def save(network: nn.Module, example: torch.Tensor, run: Run, file: Path) -> None:
    """Write the model, with ``images`` (N, C, crop, crop) in and ``logits`` (N, classes) out.

    The images are of the example's type; a model of uint8 normalizes them itself.

    Raises:
        ExportError: A package is missing, or torch cannot translate the network.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"ONNX needs {', '.join(missing)}, which the serving environment leaves out: "
            "uv sync --extra onnx, or pip install 'marina[onnx]'"
        )
    try:
        # The exporter warns of its own parts; what counts is the parity below.
        with warnings.catch_warnings(action="ignore"):
            program: Any = torch.onnx.export(
                network,
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(BATCH,),
                dynamo=True,
                verbose=False,
            )
    except RuntimeError as err:
        name = run.recipe.architecture.name
        raise ExportError(f"torch cannot write {name} as ONNX: {first_line(err)}") from err
    program.model.metadata_props[KEY] = metadata(run, normalizes=example.dtype == torch.uint8)
    program.save(file)


def load(file: Path, _: Run) -> Callable[[torch.Tensor], torch.Tensor]:
    """Open the model in onnxruntime, on the CPU."""
    from onnxruntime import InferenceSession

    session = InferenceSession(file, providers=["CPUExecutionProvider"])

    def answer(images: torch.Tensor) -> torch.Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(logits)  # (N, classes)

    return answer
