"""Loading a model with the library that it was exported for.

TorchScript is torch's own and needs nothing else. The others are imported by their own workers
alone: looking for them would cost each worker's start its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.model import load_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from handlers.backend import Backend
    from handlers.image_spec import ImageSpec
    from handlers.precision import Precision


def load_backend(
    file: Path,
    spec: ImageSpec,
    device: torch.device,
    *,
    backend: Backend,
    precision: Precision,
    fusion: bool,
    threads: int,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Load a model with the library that it was exported for.

    Args:
        file: The model, as `marina export` wrote it for this backend.
        spec: How images are normalized.
        device: Where to run it.
        backend: The library.
        precision: What the model was exported in.
        fusion: Of TorchScript, see ``load_model``.
        threads: Of one forward pass. TorchScript and inductor take torch's own, which the caller
            sets.

    Returns:
        From pixels (N, C, crop, crop), uint8, to logits (N, classes), on the device.

    Raises:
        BackendUnavailable: Its package is not installed, or the file is for another processor.
        ValueError: The backend cannot run on the device.
    """
    if backend == "torchscript":
        return load_model(file, spec, device, fusion=fusion)
    if device.type != "cpu":
        # The word for NVIDIA's platform is avoided, see ``choose_device``.
        raise ValueError(
            f"backend {backend} runs on the CPU only: archive the model again, so that its "
            "model-config.yaml says deviceType: cpu, or export with serve.backend=torchscript"
        )
    if backend == "inductor":
        from handlers import inductor

        return inductor.load(file)
    if backend == "onnxruntime":
        from handlers import onnx_runtime

        return onnx_runtime.load(file, threads)
    from handlers import open_vino

    return open_vino.load(file, precision, threads)
