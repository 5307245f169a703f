"""Data that is not an image folder yet, written out once as one: ``root/<split>/<class>/*.png``.

Everything after this module sees only real image files, whatever the source was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from marina.errors import DataError
from marina.files import whole_folder
from marina.progress import progress_bar

if TYPE_CHECKING:
    from marina.recipe import Data


class Picture(NamedTuple):
    """One image on its way into the folder.

    Attributes:
        pixels: uint8, (H, W) gray or (H, W, 3) RGB.
        label: Its class, which names its folder.
        split: ``train``, ``val`` or ``test``.
    """

    pixels: np.ndarray
    label: str
    split: str


def prepare(data: Data) -> None:
    """Write the source of ``data`` out as an image folder at ``data.root``, unless it is there.

    Raises:
        DataError: The folder, or the source's own files, are not there.
    """
    if data.source == "folder":
        if not data.root.is_dir():
            raise DataError(f"no image folder at {data.root}: expected {data.root}/train/<class>/*")
    elif data.root.exists():
        return
    elif data.source == "digits":
        _write(data.root, *_digits(data))
    elif data.source == "cifar10":
        _write(data.root, *_cifar10(data))
    else:
        _write(data.root, *_photographs())


def _write(root: Path, pictures: Iterable[Picture], total: int) -> None:
    with whole_folder(root) as folder, progress_bar("write", total) as bar:
        for number, picture in enumerate(pictures):
            path = folder / picture.split / picture.label / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.pixels).save(path)
            bar.advance(note=str(root))


def _digits(data: Data) -> tuple[Iterator[Picture], int]:
    """Scikit-learn's copy of the UCI optical digits: 1,797 scans of 8×8 px, values 0 to 16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8)
    splits = _split(bunch.target, {"val": data.val_fraction, "test": data.test_fraction}, data.seed)
    labels = [str(target) for target in bunch.target]
    return map(Picture, pixels, labels, splits), len(labels)


def _cifar10(data: Data) -> tuple[Iterator[Picture], int]:
    """CIFAR-10 as torchvision reads it; validation is split off from its training images."""
    from torchvision.datasets import CIFAR10

    try:
        train, test = (CIFAR10(str(data.original), train=flag) for flag in (True, False))
    except RuntimeError as err:
        raise DataError(
            f"no CIFAR-10 in {data.original}: put cifar-10-python.tar.gz, unpacked, there so that "
            f"{data.original}/cifar-10-batches-py exists ({err})"
        ) from err
    targets = [*train.targets, *test.targets]
    splits = _split(np.array(train.targets), {"val": data.val_fraction}, data.seed)
    splits += ["test"] * len(test.targets)
    labels = [train.classes[target] for target in targets]
    return map(Picture, [*train.data, *test.data], labels, splits), len(labels)


def _photographs() -> tuple[Iterator[Picture], int]:
    """Scikit-learn's china.jpg and flower.jpg, 640×427 px, as an unlabelled test split."""
    from sklearn.datasets import load_sample_images

    images = load_sample_images().images
    return (Picture(pixels, "unlabelled", "test") for pixels in images), len(images)


def _split(targets: np.ndarray, fractions: dict[str, float], seed: int) -> list[str]:
    """Give each index a split, class by class, so that each split has its share of each class."""
    names = np.full(len(targets), "train", dtype=object)
    generator = np.random.default_rng(seed)
    for target in np.unique(targets):
        members = generator.permutation(np.flatnonzero(targets == target))
        start = 0
        for name, fraction in fractions.items():
            count = round(len(members) * fraction)
            names[members[start : start + count]] = name
            start += count
    return list(names)
