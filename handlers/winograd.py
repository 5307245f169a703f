"""Convolutions of 3x3 with a quarter of the multiplications: Winograd's F(4x4, 3x3).

A core computes a direct convolution in float32 about as fast as it can multiply, so that only
fewer multiplications make it faster. The algorithm is that of Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks" (arXiv:1509.09308), made of torch's own operations: tiles of 6x6
pixels, and the weights, are each turned into 36 matrices over the channels; their 36 products are
turned into tiles of 4x4 results. That multiplies 36 times where the direct way does 144 times.
Sums are rounded otherwise, to about 1e-5 of their size: float32 has room for that, and fewer bits
have not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE = 4  # of a tile's results
_SIDE_IN = SIDE + 2  # of the pixels that they are made of

# The transforms of the paper's section 4.3, B transposed, G and A transposed there; the first and
# the last work on pixels and products, the second on weights.
_PIXELS = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float32,
)
_WEIGHTS = (
    torch.tensor(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        dtype=torch.float64,
    )
    / 24
)
_PRODUCTS = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    dtype=torch.float32,
)
# What is added to this one of a tile's products is added to each of its results.
_EVERYWHERE = _SIDE_IN + 1

# Tiles that are worked on at once: few, so that they stay in a core's cache, but not so few that
# fetching the weights takes longer than multiplying with them.
_FEWEST_TILES = 64
_CACHED = 6400  # numbers of one matrix over the channels

OPERATOR = "marina::winograd"

_library = torch.library.Library("marina", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "winograd(Tensor x, Tensor weights, Tensor bias, Tensor? other, bool relu) -> Tensor",
    alias_analysis="FROM_SCHEMA",
)


def transform_weights(weights: torch.Tensor) -> torch.Tensor:
    """Turn the weights of a convolution into matrices.

    Args:
        weights: Shape (K, C, 3, 3), float32.

    Returns:
        Shape (36, C, K), float32; four times as large.
    """
    k, c = weights.shape[:2]
    matrices = torch.einsum("ij,kcjl,ml->mick", _WEIGHTS, weights.double(), _WEIGHTS)
    return matrices.reshape(_SIDE_IN**2, c, k).float().contiguous()


@torch.library.impl(_library, "winograd", "CPU")
def convolve(
    x: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor,
    other: torch.Tensor | None,
    relu: bool,
) -> torch.Tensor:
    """Convolve with 3x3, stride 1 and padding 1; then add another tensor, and cut off below 0.

    Args:
        x: Shape (N, C, H, W), float32, best in channels-last memory.
        weights: Shape (36, C, K), from ``transform_weights``.
        bias: Shape (K,).
        other: Added to the result, if any: shape (N, K, H, W), or one that is broadcast to it.
        relu: Whether negative results become 0.

    Returns:
        Shape (N, K, H, W), in channels-last memory.
    """
    n, c, height, width = x.shape
    k = weights.shape[2]
    down, across = tiles(height), tiles(width)
    margins = (0, 0, 1, across * SIDE + 1 - width, 1, down * SIDE + 1 - height)
    padded = pad(x.permute(0, 2, 3, 1), margins)  # (N, 4 down + 2, 4 across + 2, C)
    result = x.new_empty(n, height, width, k)
    if other is not None:
        other = other.expand(n, k, height, width).permute(0, 2, 3, 1)  # (N, H, W, K)
    for images, rows in _parts(n, down, across, c):
        source = padded[images, rows.start * SIDE : rows.stop * SIDE + 2]
        lines = slice(rows.start * SIDE, rows.stop * SIDE)
        sums = _tiles(source, weights, bias)[:, : height - lines.start, :width]
        target = result[images, lines]
        if other is not None:
            torch.add(sums, other[images, lines], out=target)
            if relu:
                target.relu_()
        elif relu:
            torch.clamp_min(sums, 0, out=target)
        else:
            target.copy_(sums)
    return result.permute(0, 3, 1, 2)


def tiles(pixels: int) -> int:
    """Give the number of tiles that cover so many pixels of a side."""
    return -(-pixels // SIDE)


def _parts(n: int, down: int, across: int, channels: int) -> Iterator[tuple[slice, slice]]:
    """Cut a batch's tiles into strips of an image, or into groups of images."""
    most = max(_FEWEST_TILES, _CACHED // channels)
    strips = -(-down * across // most)
    rows = -(-down // strips)
    images = max(1, most // (down * across))
    for first in range(0, n, images):
        for row in range(0, down, rows):
            yield slice(first, first + images), slice(row, min(row + rows, down))


def _tiles(source: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Convolve whole tiles.

    Args:
        source: Shape (N, 4 down + 2, 4 across + 2, C), with its rows one after the other.
        weights: Shape (36, C, K).
        bias: Shape (K,).

    Returns:
        Shape (N, 4 down, 4 across, K).
    """
    n, height, width, c = source.shape
    k = weights.shape[2]
    down, across = height // SIDE, width // SIDE
    image, line = source.stride()[:2]
    # Each transform is one matrix product, over a tile's rows first and its columns then: what it
    # sums over comes first in memory, gathered by copying.
    rows = source.as_strided(
        (_SIDE_IN, n, down, width * c), (line, image, SIDE * line, 1), source.storage_offset()
    )
    by_row = _PIXELS @ rows.reshape(_SIDE_IN, -1)  # (6, N down width C)
    columns = by_row.as_strided(
        (_SIDE_IN, _SIDE_IN, n * down, across, c),
        (c, by_row.shape[1], width * c, SIDE * c, 1),
    )
    by_column = _PIXELS @ columns.reshape(_SIDE_IN, -1)  # (6, 6 N down across C)
    products = by_column.view(_SIDE_IN**2, -1, c) @ weights  # (36, N down across, K)
    products[_EVERYWHERE] += bias
    by_column = _PRODUCTS @ products.view(_SIDE_IN, -1)  # (4, 6 N down across K)
    results = _PRODUCTS @ by_column.view(SIDE, _SIDE_IN, -1)  # (4, 4, N down across K)
    in_place = results.view(SIDE, SIDE, n, down, across, k).permute(2, 3, 1, 4, 0, 5)
    return in_place.reshape(n, down * SIDE, across * SIDE, k)
