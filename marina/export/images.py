"""Choosing some of a split's images."""

from __future__ import annotations

from marina.errors import DataError
from marina.train.dataset import Split


def evenly_spaced(split: Split, most: int) -> Split:
    """Give at most so many images, spaced so that every class has its share.

    Raises:
        DataError: There are none.
    """
    count = len(split.files)
    if not count:
        raise DataError(f"no images in {split.root}: the export needs some to prove itself on")
    chosen = sorted({index * count // most for index in range(most)})  # each one once
    return Split(
        split.root,
        split.labels,
        tuple(split.files[index] for index in chosen),
        tuple(split.targets[index] for index in chosen),
    )
