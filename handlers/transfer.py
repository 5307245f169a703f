"""Copies of images to a GPU that run beside its computing.

Pageable memory makes a copy wait for the CPU; pinned memory lets the GPU fetch it by itself.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.image_spec import ImageSpec

SLOTS = 2


class Slot(NamedTuple):
    """A buffer that takes its turn.

    Attributes:
        pixels: Shape (most, C, crop, crop), uint8.
        copied: When its last copy has ended.
    """

    pixels: torch.Tensor
    copied: torch.cuda.Event

    def gather(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Put images (C, crop, crop) side by side, once the last copy out of here has ended.

        Returns:
            Shape (N, C, crop, crop), in the buffer's memory.
        """
        self.copied.synchronize()
        return torch.stack(list(images), out=self.pixels[: len(images)])  # (N, C, H, W)


class Uploader:
    """Copies images from pinned buffers, on a stream of its own.

    The buffers take turns: while one is fetched, the next images are gathered in the other.

    Args:
        spec: What the model expects.
        device: A GPU.
        most: Images in one upload.
    """

    def __init__(self, spec: ImageSpec, device: torch.device, most: int) -> None:
        shape = (most, spec.channels, spec.crop, spec.crop)
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        slots = [
            Slot(
                torch.empty(shape, dtype=torch.uint8, pin_memory=True),
                torch.cuda.Event(),  # type: ignore[no-untyped-call]
            )
            for _ in range(SLOTS)
        ]
        self._turn = itertools.cycle(slots)

    def upload(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Begin a copy; what is computed afterwards waits for it, what runs already does not.

        Args:
            images: At most ``most``, each of shape (C, crop, crop), uint8, on the CPU.

        Returns:
            Shape (N, C, crop, crop), uint8, on the device.
        """
        slot = next(self._turn)
        gathered = slot.gather(images)
        with torch.cuda.stream(self._stream):
            pixels = gathered.to(self._device, non_blocking=True)
            slot.copied.record(self._stream)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(slot.copied)
        pixels.record_stream(computing)
        return pixels
