"""What a worker on a GPU has beside its model: graphs, copies that overlap, a decoder.

None of it has run on a GPU yet: see docs/speed.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from handlers.gpu_decode import INTERPOLATIONS, GpuDecoder
from handlers.graphs import CudaRecorder, GraphModel
from handlers.transfer import Uploader

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from handlers.image_spec import ImageSpec
    from handlers.settings import Settings


class Gpu(NamedTuple):
    """The parts; None where the settings leave one out.

    Attributes:
        uploader: Copies images to it.
        decoder: Decodes JPEGs on it.
    """

    uploader: Uploader
    decoder: GpuDecoder | None


def equip(spec: ImageSpec, settings: Settings, device: torch.device, batch_size: int) -> Gpu | None:
    """Give a GPU's parts; None for a CPU.

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
    """Record a model in the powers of two up to the batch size, and in that."""
    powers = {1 << exponent for exponent in range(batch_size.bit_length())}
    return GraphModel(model, spec, device, sorted({batch_size, *powers}), CudaRecorder(device))
