"""The batch sizes that are compiled, and how a batch of another size is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.backend import Backend

FEW = 2  # Most images that are computed together on all cores, see ``handlers.spread``.


def graph_sizes(
    batch_size: int, backend: Backend = "torchscript", *, fused: bool
) -> tuple[int, ...]:
    """Choose the batch sizes to compile; a batch of another size is cut into these.

    A graph that oneDNN fuses takes a few megabytes for each size, and seconds to compile. The
    other backends prepare each shape when it first comes, and lose a few percent to being cut.

    Args:
        batch_size: Most images of one batch.
        backend: That computes it.
        fused: Whether oneDNN Graph fuses it.

    Returns:
        The largest first, down to 1.
    """
    if backend == "torchscript" and not fused:
        return tuple(range(batch_size, 0, -1))
    return powers(batch_size)


def powers(batch_size: int) -> tuple[int, ...]:
    """Give a batch size and the powers of two below it, the largest first."""
    smaller = {1 << exponent for exponent in range(batch_size.bit_length())}
    return tuple(sorted({batch_size, *smaller}, reverse=True))


def replayed(sizes: Sequence[int], images: int) -> list[int]:
    """Choose the batch sizes to replay golden images in, after all of them at once.

    Args:
        sizes: The largest first; the last is 1.
        images: How many there are; a larger batch has some of them again.

    Returns:
        All sizes up to the number of images, and above it the powers of two and the largest,
        without the size that all images at once are computed in.
    """
    at_once = min(sizes[0], images)
    larger = powers(sizes[0])
    return [size for size in sizes if size != at_once and (size < images or size in larger)]


def cut(count: int, sizes: Sequence[int]) -> list[int]:
    """Cut a count into as few of the sizes as can be.

    Args:
        count: At least 1.
        sizes: The largest first; the last is 1.

    Returns:
        Sizes that sum to ``count``: 7 is 4, 2 and 1.
    """
    parts = []
    for size in sizes:
        whole, count = divmod(count, size)
        parts += [size] * whole
    return parts
