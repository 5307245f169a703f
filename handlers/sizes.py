"""The batch sizes that are compiled, and how a batch of another size is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.backend import Backend
    from handlers.precision import Precision


def graph_sizes(
    batch_size: int,
    precision: Precision,
    backend: Backend = "torchscript",
    *,
    fused: bool,
) -> tuple[int, ...]:
    """Choose the batch sizes to compile; a batch of another size is cut into these.

    A graph that oneDNN fuses keeps a copy of the weights for each size. In fp32 that is the most
    memory and two sizes do: an image alone takes 8% longer than one of eight. In half precision
    the weights are read as long as they are computed with, so that mates count. The other
    backends prepare each shape when it first comes, and lose a few percent to being cut.

    Args:
        batch_size: Most images of one batch.
        precision: Of the model.
        backend: That computes it.
        fused: Whether oneDNN Graph fuses it.

    Returns:
        The largest first, down to 1.
    """
    if backend == "torchscript" and not fused:
        return tuple(range(batch_size, 0, -1))
    if backend == "torchscript" and precision == "fp32":
        return tuple(sorted({batch_size, 1}, reverse=True))
    return powers(batch_size)


def powers(batch_size: int) -> tuple[int, ...]:
    """Give a batch size and the powers of two below it, the largest first."""
    smaller = {1 << exponent for exponent in range(batch_size.bit_length())}
    return tuple(sorted({batch_size, *smaller}, reverse=True))


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
