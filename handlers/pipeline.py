"""From image files to logits: the whole path of a batch, without the server around it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import torch

from handlers.decode import decode
from handlers.preprocess import normalize, pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from handlers.image_spec import ImageLimits, ImageSpec

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image, ready for a batch.

    Attributes:
        pixels: Shape (C, crop, crop), uint8.
        decode_s: Seconds from bytes to an upright image.
        resize_s: Seconds from there to the pixels.
    """

    pixels: torch.Tensor
    decode_s: float
    resize_s: float


class Pipeline:
    """A model with the way to it.

    Args:
        model: From normalized images (N, C, crop, crop), float32, to logits (N, classes).
        spec: What the model expects.
        limits: What is refused on an image's header.
        device: Where the model is.
        threads: How many images are decoded at once.
    """

    def __init__(
        self,
        model: Callable[[torch.Tensor], torch.Tensor],
        spec: ImageSpec,
        limits: ImageLimits,
        device: torch.device,
        threads: int,
    ) -> None:
        self.spec = spec
        self.device = device
        self._model = model
        self._limits = limits
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def load(self, data: bytes) -> Loaded:
        """Decode, resize and crop one image file, as ``preprocess.load_pixels`` does, timed.

        Raises:
            ImageError: The image cannot be decoded, or is too large, or of a kind not served.
        """
        started = perf_counter()
        image = decode(data, self.spec.mode, self._limits)
        decoded = perf_counter()
        tensor = pixels(image, self.spec)
        return Loaded(tensor, decoded - started, perf_counter() - decoded)

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Apply a function to each item, in threads: Pillow leaves Python's lock as it decodes."""
        if self._threads == 1 or len(items) == 1:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def batch(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Make the model's input of images.

        Args:
            images: Each of shape (C, crop, crop), uint8.

        Returns:
            Shape (N, C, crop, crop), float32, on the device. The bytes travel there before they
            become floats four times their size.
        """
        stacked = torch.stack(list(images))  # (N, C, H, W)
        return normalize(stacked.to(self.device), self.spec)

    def infer(self, batch: torch.Tensor) -> torch.Tensor:
        """Run the model.

        Args:
            batch: Shape (N, C, crop, crop), float32, on the device.

        Returns:
            Logits (N, classes), float32, on the device, computed by the time of return.

        Raises:
            TypeError: The model gives something else.
        """
        with torch.inference_mode():
            logits = self._model(batch)
            if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
                raise TypeError("expected a model that gives one tensor of logits (N, classes)")
            logits = logits.float()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # so that the clock reads what the model took
        return logits


def rank(logits: torch.Tensor, top_k: int) -> list[list[tuple[int, float]]]:
    """Give the likeliest classes of each row.

    Args:
        logits: Shape (N, classes), float32.
        top_k: How many; at most as many as there are.

    Returns:
        Per row, class indices with their softmax probabilities, the likeliest first.
    """
    best = logits.softmax(dim=1).topk(min(top_k, logits.shape[1]), dim=1)
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [list(zip(indices, values, strict=True)) for indices, values in rows]
