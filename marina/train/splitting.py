"""Dividing images among training, validation and test, class by class."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def stratified(targets: np.ndarray, fractions: dict[str, float], seed: int) -> list[str]:
    """Give each index a split, so that each split has its share of each class.

    A class of more images than there are splits has at least one in each.

    Args:
        targets: The class of each image, (images,).
        fractions: Share of each split but ``train``, which takes the rest.
        seed: The same seed gives the same splits.
    """
    names = np.full(len(targets), "train", dtype=object)
    generator = np.random.default_rng(seed)
    for target in np.unique(targets):
        members = generator.permutation(np.flatnonzero(targets == target))
        start = 0
        for name, fraction in fractions.items():
            count = round(len(members) * fraction)
            if fraction and len(members) > len(fractions):
                count = max(1, count)
            names[members[start : start + count]] = name
            start += count
    return list(names)


def stratified_together(
    labels: Sequence[str], contents: Sequence[Hashable], fractions: dict[str, float], seed: int
) -> list[str]:
    """Divide as `stratified` does, with images of one content always in one split."""
    first = {content: index for index, content in reversed(list(enumerate(contents)))}
    chosen = sorted(first.values())
    names = stratified(np.array([labels[index] for index in chosen]), fractions, seed)
    by_content = {contents[index]: name for index, name in zip(chosen, names, strict=True)}
    return [by_content[content] for content in contents]
