"""An ONNX file in OpenVINO, which reads it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from handlers import backend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from handlers.precision import Precision

# An int8 model is quantized in its file; what is left of it stays in single precision. Unless it
# is told, OpenVINO chooses bf16 by itself on processors that have it.
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def load(file: Path, precision: Precision, threads: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compile the model for the CPU.

    Args:
        file: From pixels (N, C, crop, crop), uint8, to logits (N, classes).
        precision: In what to compute.
        threads: Of one forward pass.

    Returns:
        The model.

    Raises:
        BackendUnavailable: openvino is not installed.
    """
    openvino = backend.require("openvino")
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(file),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "ENABLE_CPU_PINNING": False,  # each worker would pin itself to the same first cores
        },
    )
    request = compiled.create_infer_request()

    def answer(pixels: torch.Tensor) -> torch.Tensor:
        result = request.infer([pixels.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(result[0].copy())  # (N, classes); its own buffer is used again

    return answer
