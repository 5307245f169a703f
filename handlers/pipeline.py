"""From image files to logits: the whole path of a batch, without the server around it."""

from __future__ import annotations

import ctypes
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import torch

from handlers.decode import decode
from handlers.errors import ImageError
from handlers.gpu_decode import suits
from handlers.preprocess import pixels
from handlers.sizes import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from handlers.gpu import Gpu
    from handlers.image_spec import ImageLimits, ImageSpec

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger(__name__)

# On a GPU, a batch of so many goes in two halves: one is computed while the other is copied.
HALVED_FROM = 16

# oneDNN Graph compiles a batch size in its first three runs.
WARM_UP_RUNS = 3


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image, ready for a batch.

    Attributes:
        pixels: Shape (C, crop, crop), uint8; on the GPU if it was decoded there.
        decode_s: Seconds from bytes to an upright image.
        resize_s: Seconds from there to the pixels.
    """

    pixels: torch.Tensor
    decode_s: float
    resize_s: float


class Pipeline:
    """A model with the way to it.

    Args:
        model: From pixels (N, C, crop, crop), uint8, to logits (N, classes).
        spec: What the model expects.
        limits: What is refused on an image's header.
        device: Where the model is.
        threads: How many images are decoded at once.
        sizes: Of the parts that a batch is cut into, the largest first, down to 1.
        gpu: What a GPU has beside the model; None on a CPU.
    """

    def __init__(
        self,
        model: Callable[[torch.Tensor], torch.Tensor],
        spec: ImageSpec,
        limits: ImageLimits,
        device: torch.device,
        threads: int,
        sizes: Sequence[int] = (1,),
        gpu: Gpu | None = None,
    ) -> None:
        self.spec = spec
        self.device = device
        self.sizes = tuple(sizes)
        self.model = model
        self._limits = limits
        self._threads = threads
        self._gpu = gpu
        self.renew_threads()

    def renew_threads(self) -> None:
        """Decode in threads of the priority of whoever asks next, not of who asked first."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")

    def load(self, data: bytes) -> Loaded:
        """Decode, resize and crop one image file, as ``preprocess.load_pixels`` does, timed.

        Raises:
            ImageError: The image cannot be decoded, or is too large, or of a kind not served.
        """
        started = perf_counter()
        image = decode(data, self.spec.mode, self._limits, self.spec.shrink_px)
        decoded = perf_counter()
        tensor = pixels(image, self.spec)
        return Loaded(tensor, decoded - started, perf_counter() - decoded)

    def load_all(self, files: Sequence[bytes]) -> list[Loaded | ImageError]:
        """Load image files side by side.

        Returns:
            Of each file in its place, what was loaded or why it cannot be.
        """
        decoded = self._decode_on_gpu(files)
        others = [index for index in range(len(files)) if index not in decoded]
        loaded = self.each(self._load_or_refuse, [files[index] for index in others])
        found = {**decoded, **dict(zip(others, loaded, strict=True))}
        return [found[index] for index in range(len(files))]

    @property
    def decodes_on_gpu(self) -> bool:
        """Whether JPEGs are decoded on the GPU."""
        return self._gpu is not None and self._gpu.decoder is not None

    def decode_on_cpu(self) -> None:
        """Decode nothing on the GPU from now on."""
        self._gpu = self._gpu and self._gpu._replace(decoder=None)

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Apply a function to each item, in threads: Pillow leaves Python's lock as it decodes."""
        if self._threads == 1 or len(items) == 1:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def batch(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Make the model's input of images.

        Args:
            images: Of one batch, each of shape (C, crop, crop), uint8.

        Returns:
            Shape (N, C, crop, crop), uint8, on the device: the model itself makes floats of them,
            four times their size.
        """
        if self._gpu is not None and all(image.device.type == "cpu" for image in images):
            return self._gpu.uploader.upload(images)
        return torch.stack([image.to(self.device) for image in images])  # (N, C, H, W)

    def predict(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run the model on loaded images; a GPU computes some while others are copied to it.

        Args:
            images: Any number, each of shape (C, crop, crop), uint8.

        Returns:
            As `infer`.
        """
        most = self.sizes[0]
        if self._gpu is not None and HALVED_FROM <= len(images) <= most:
            most = (len(images) + 1) // 2
        parts = [images[start : start + most] for start in range(0, len(images), most)]
        with torch.inference_mode():
            return self._awaited(torch.cat([self._run(self.batch(part)) for part in parts]))

    def infer(self, batch: torch.Tensor) -> torch.Tensor:
        """Run the model.

        A batch is cut into parts of ``sizes``: see ``graph_sizes``.

        Args:
            batch: Shape (N, C, crop, crop), uint8, on the device.

        Returns:
            Logits (N, classes), float32, on the device, computed by the time of return.

        Raises:
            TypeError: The model gives something else.
        """
        with torch.inference_mode():
            return self._awaited(self._run(batch))

    def blank(self, count: int) -> torch.Tensor:
        """Give images without content: shape (N, C, crop, crop), uint8, on the CPU."""
        spec = self.spec
        return torch.zeros(count, spec.channels, spec.crop, spec.crop, dtype=torch.uint8)

    def warm(self, top_k: int, order: Sequence[int] = ()) -> None:
        """Run each size of ``sizes``, so that no client pays for its compilation.

        Args:
            top_k: Of the answers.
            order: Of the sizes, if not the largest first. TorchScript computes the first one 3 to
                5% faster than in another order.
        """
        for size in order or self.sizes:
            for _ in range(WARM_UP_RUNS):
                rank(self.predict(list(self.blank(size))), top_k)

    def _run(self, batch: torch.Tensor) -> torch.Tensor:
        parts = [self.model(part) for part in torch.split(batch, cut(len(batch), self.sizes))]
        if not all(isinstance(part, torch.Tensor) and part.ndim == 2 for part in parts):
            raise TypeError("expected a model that gives one tensor of logits (N, classes)")
        return torch.cat(parts).float()

    def _awaited(self, logits: torch.Tensor) -> torch.Tensor:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # so that the clock reads what the model took
        return logits

    def _load_or_refuse(self, data: bytes) -> Loaded | ImageError:
        try:
            return self.load(data)
        except ImageError as problem:
            return problem

    def _decode_on_gpu(self, files: Sequence[bytes]) -> dict[int, Loaded]:
        """Give what the GPU decodes, by place; the CPU is left with the others."""
        if self._gpu is None or self._gpu.decoder is None:
            return {}
        fitting = self.each(lambda data: suits(data, self._limits), files)
        chosen = [index for index, fits in enumerate(fitting) if fits]
        if not chosen:
            return {}
        started = perf_counter()
        try:
            decoded = self._gpu.decoder.load([files[index] for index in chosen])
        except RuntimeError as err:  # damage, of which the CPU will tell whose
            logger.warning("the GPU cannot decode one of %d JPEGs: %s", len(chosen), err)
            return {}
        share_s = (perf_counter() - started) / len(chosen)
        return {i: Loaded(image, share_s, 0.0) for i, image in zip(chosen, decoded, strict=True)}


def release_memory() -> None:
    """Give what loading and compiling left free back to the system, where the C library can."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)


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
