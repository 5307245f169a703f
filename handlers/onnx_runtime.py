"""An ONNX file in ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from handlers import backend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INPUT, OUTPUT = "images", "logits"


def load(file: Path, threads: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Open the model on the CPU.

    Args:
        file: From ``images`` (N, C, crop, crop), uint8, to ``logits`` (N, classes).
        threads: Of one forward pass.

    Returns:
        The model.

    Raises:
        BackendUnavailable: onnxruntime is not installed.
    """
    onnxruntime = backend.require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Between two batches its threads would spin on the cores that decode the next one.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        file, sess_options=options, providers=["CPUExecutionProvider"]
    )

    def answer(pixels: torch.Tensor) -> torch.Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: pixels.contiguous().numpy()})
        return torch.from_numpy(logits)  # (N, classes)

    return answer
