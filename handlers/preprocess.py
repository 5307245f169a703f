"""From a decoded image to a model's input: the one path of evaluation, export and serving."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from PIL.Image import Resampling
from torch.nn.functional import interpolate

from handlers.arrow import shared
from handlers.decode import decode
from handlers.image_spec import ImageLimits

if TYPE_CHECKING:
    from PIL.Image import Image

    from handlers.image_spec import ImageSpec, Interpolation

_RESAMPLING: dict[Interpolation, Resampling] = {
    "nearest": Resampling.NEAREST,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
}

_DEFAULT_LIMITS = ImageLimits()

_ANTIALIASED_BY_TORCH = ("bilinear", "bicubic")


def load_pixels(
    data: bytes, spec: ImageSpec, limits: ImageLimits = _DEFAULT_LIMITS
) -> torch.Tensor:
    """Decode, resize and crop one image file.

    Args:
        data: The whole file.
        spec: What the model expects.
        limits: What is refused on the header.

    Returns:
        Pixels of shape (C, crop, crop), uint8 in [0, 255].

    Raises:
        ImageError: The image cannot be decoded, or is too large, or of a kind not served.
    """
    return pixels(decode(data, spec.mode, limits, spec.shrink_px), spec)


def pixels(image: Image, spec: ImageSpec) -> torch.Tensor:
    """Scale the shorter side to ``spec.resize`` and cut the middle ``spec.crop`` square.

    Unless ``spec.decode`` is fast, bit-equal to torchvision's Resize, CenterCrop and PILToTensor
    on a PIL image (torchvision/transforms/functional.py), without the seconds that importing
    torchvision costs a worker.

    Args:
        image: Any size, of mode ``spec.mode``.
        spec: Sizes and filter.

    Returns:
        Pixels of shape (C, crop, crop), uint8 in [0, 255]; rows of interleaved channels in
        memory, as the image holds them.

    Raises:
        ValueError: The image is of another mode.
    """
    if image.mode != spec.mode:
        raise ValueError(f"expected an image of mode {spec.mode}, got {image.mode}")
    size = resized(image.size, spec.resize)
    if spec.decode == "fast" and spec.interpolation in _ANTIALIASED_BY_TORCH:
        return _cut_fast(image, size, spec)
    return _cut_exact(image, size, spec)


def _cut_exact(image: Image, size: tuple[int, int], spec: ImageSpec) -> torch.Tensor:
    # To cut between the two passes would save a tenth, but Pillow chooses which comes first.
    if size != image.size:
        image = image.resize(size, _RESAMPLING[spec.interpolation])
    left, top = corner(size, spec.crop)
    return _as_tensor(image.crop((left, top, left + spec.crop, top + spec.crop)))


def _cut_fast(image: Image, size: tuple[int, int], spec: ImageSpec) -> torch.Tensor:
    """Resize with torch, whose sums are shorter than Pillow's, and crop."""
    width, height = size
    left, top = corner(size, spec.crop)
    with shared(image) as memory:
        whole = _as_tensor(image) if memory is None else memory.permute(2, 0, 1)  # (C or 4, H, W)
        scaled = interpolate(
            whole[None], (height, width), mode=spec.interpolation, antialias=True
        )  # (1, C or 4, H, W)
    return scaled[0, : spec.channels, top : top + spec.crop, left : left + spec.crop]


def _as_tensor(image: Image) -> torch.Tensor:
    # A bytearray, since torch warns of sharing memory that it may not write to.
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, -1).permute(2, 0, 1)  # (C, H, W)


def normalize(batch: torch.Tensor, spec: ImageSpec) -> torch.Tensor:
    """Scale pixels to [0, 1], subtract the mean, divide by the standard deviation.

    Bit-equal to torchvision.transforms.v2 ToDtype(float32, scale=True) and Normalize, on any
    device: like it, this multiplies by 1/255. (ToTensor of the first API divides by 255, which
    differs in the last bit, and which a GPU computes as a product after all.)

    Args:
        batch: Pixels of shape (N, C, H, W), uint8 in [0, 255].
        spec: Mean and standard deviation.

    Returns:
        The model's input (N, C, H, W), float32, on the batch's device.
    """
    mean, std = _mean_and_std(spec, batch.device)
    return batch.to(torch.float32).mul_(1 / 255).sub_(mean).div_(std)


@lru_cache(maxsize=16)
def _mean_and_std(spec: ImageSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    # Kept, since on a GPU each would be a copy of its own; and made outside of inference mode,
    # since training shares them with serving.
    with torch.inference_mode(mode=False):
        mean = torch.tensor(spec.mean, dtype=torch.float32, device=device)
        std = torch.tensor(spec.std, dtype=torch.float32, device=device)
    return mean.view(-1, 1, 1), std.view(-1, 1, 1)  # (C, 1, 1) each


def corner(size: tuple[int, int], crop: int) -> tuple[int, int]:
    """Give left and top of the middle square of ``crop`` pixels."""
    width, height = size
    return round((width - crop) / 2), round((height - crop) / 2)


def resized(size: tuple[int, int], shorter_px: int) -> tuple[int, int]:
    """Give width and height with the shorter side scaled to ``shorter_px``."""
    width, height = size
    if width <= height:
        return shorter_px, int(shorter_px * height / width)
    return int(shorter_px * width / height), shorter_px
