"""Which parts of an image speak for a class, found from the model's answers alone.

A served model is frozen, and may be quantized or another library's: it has no layers to hook, and
often no gradients. So each part of the image is hidden in turn, and what its class's logit loses
is what that part gave (Zeiler & Fergus 2014, section 4.2).
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import torch
from PIL import Image

if TYPE_CHECKING:
    from handlers.pipeline import Pipeline

# The hidden square is a quarter of the side, and takes so many places along each axis: at 32 and
# 224 px, half of it overlaps with the next.
PLACES = 7

_FOR, _AGAINST = (0.85, 0.0, 0.1), (0.0, 0.25, 0.9)  # red, blue
_OPACITY = 0.6


def occlude(pipeline: Pipeline, pixels: torch.Tensor, index: int) -> torch.Tensor:
    """Tell by how much hiding a pixel lowers a class's logit, on the mean of the squares over it.

    Args:
        pipeline: The model with the way to it.
        pixels: One image (C, crop, crop), uint8.
        index: The class.

    Returns:
        Shape (crop, crop), float32, on the CPU; positive where the image speaks for the class.
    """
    squares = _squares(pixels.shape[-1])
    hidden = [_hide(pixels, square, pipeline.spec.mean) for square in squares]
    logits = pipeline.predict([pixels, *hidden])[:, index].cpu()  # (1 + squares,)
    heat = torch.zeros(pixels.shape[1:])  # (crop, crop)
    covered = torch.zeros_like(heat)
    for (rows, columns), drop in zip(squares, logits[0] - logits[1:], strict=True):
        heat[rows, columns] += drop
        covered[rows, columns] += 1
    return heat / covered


def overlay(pixels: torch.Tensor, heat: torch.Tensor) -> bytes:
    """Draw the heat over the image in gray: red for the class, blue against it.

    Args:
        pixels: The image (C, crop, crop), uint8.
        heat: What ``occlude`` gave (crop, crop).

    Returns:
        A PNG of crop × crop pixels, RGB.
    """
    strength = heat / heat.abs().max().clamp_min(1e-12)  # (H, W) in [-1, 1]
    colours = torch.tensor([_FOR, _AGAINST])[(strength < 0).long()]  # (H, W, 3)
    opacity = strength.abs()[:, :, None] * _OPACITY  # (H, W, 1)
    gray = pixels.cpu().float().mean(dim=0)[:, :, None] / 255  # (H, W, 1)
    drawn = (gray * (1 - opacity) + colours * opacity) * 255
    height, width = heat.shape
    image = Image.frombytes("RGB", (width, height), bytes(drawn.round().byte().flatten().tolist()))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _squares(side_px: int) -> list[tuple[slice, slice]]:
    square_px = max(1, side_px // 4)
    starts = sorted({round(i * (side_px - square_px) / (PLACES - 1)) for i in range(PLACES)})
    spans = [slice(start, start + square_px) for start in starts]
    return [(rows, columns) for rows in spans for columns in spans]


def _hide(
    pixels: torch.Tensor, square: tuple[slice, slice], mean: tuple[float, ...]
) -> torch.Tensor:
    """Fill a square with the mean colour, which normalization turns into zeros."""
    rows, columns = square
    hidden = pixels.clone()
    fill = torch.tensor([round(value * 255) for value in mean], dtype=torch.uint8)
    hidden[:, rows, columns] = fill.to(pixels.device)[:, None, None]  # (C, 1, 1)
    return hidden
