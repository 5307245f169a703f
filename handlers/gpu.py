"""What a worker on a GPU has beside its model: graphs, copies that overlap, a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from handlers.gpu_decode import INTERPOLATIONS, GpuDecoder
from handlers.graphs import CudaRecorder, GraphModel
from handlers.sizes import powers
from handlers.transfer import Uploader

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from handlers.image_spec import ImageSpec
    from handlers.settings import Settings


class Gpu(NamedTuple):
    """The way of images to a GPU.

    Attributes:
        uploader: Copies images to it.
        decoder: Decodes JPEGs on it; None where the CPU decodes.
    """

    uploader: Uploader
    decoder: GpuDecoder | None


def equip(spec: ImageSpec, settings: Settings, device: torch.device, batch_size: int) -> Gpu | None:
    """Give the way to a GPU; None for a CPU.

    Only the fast mode decodes on it: the exact mode answers as Pillow decodes, to the bit.
    """
    if device.type != "cuda":
        return None
    decodes = spec.decode == "fast" and settings.gpu_decode
    decodes = decodes and spec.interpolation in INTERPOLATIONS
    return Gpu(Uploader(spec, device, batch_size), GpuDecoder(spec, device) if decodes else None)


def with_graphs(
    model: Callable[[torch.Tensor], torch.Tensor],
    spec: ImageSpec,
    device: torch.device,
    batch_size: int,
) -> GraphModel:
    """Record a model in each batch size that `powers` gives."""
    return GraphModel(model, spec, device, powers(batch_size), CudaRecorder(device))
