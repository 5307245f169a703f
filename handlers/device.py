"""Which device a worker runs its model on."""

from __future__ import annotations

import torch


def choose_device(gpu_id: int | None) -> torch.device:
    """Give the device that TorchServe assigned to this worker.

    Args:
        gpu_id: The GPU's number, or None for the CPU.

    Returns:
        ``cuda:<gpu_id>`` or ``cpu``.

    Raises:
        ValueError: A GPU was assigned that torch cannot use. Falling back to the CPU would hide
            it behind latency.
    """
    if gpu_id is None:
        return torch.device("cpu")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpu_id >= seen:
        # The word for NVIDIA's platform is avoided: TorchServe reports any text with it as a
        # lack of memory (ts/model_service_worker.py).
        raise ValueError(
            f"TorchServe assigned GPU {gpu_id}, but torch {torch.__version__} sees {seen} usable "
            "GPUs: check the driver with nvidia-smi, or compute on the CPU (marina serve --no-gpu, "
            "or number_of_gpu=0 in config.properties)"
        )
    return torch.device("cuda", gpu_id)
