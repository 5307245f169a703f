"""torchvision's data sets by name, from their own files on this machine."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from torchvision import datasets

from marina.errors import DataError
from marina.train.splitting import stratified

if TYPE_CHECKING:
    from PIL.Image import Image

    from marina.recipe import Data

_FLAG = {"train": {"train": True}, "test": {"train": False}}
_TWO = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE = {**_TWO, "val": {"split": "val"}}
_WHOLE: dict[str, dict[str, Any]] = {"train": {}}

# What each class of torchvision.datasets is to be asked for, by our names of the splits. One that
# it does not have is held out of its training images.
SPLITS: dict[str, dict[str, dict[str, Any]]] = {
    **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST", "USPS", "CIFAR10", "CIFAR100"), _FLAG),
    **dict.fromkeys(("SVHN", "STL10", "GTSRB", "Food101", "StanfordCars"), _TWO),
    **dict.fromkeys(("FGVCAircraft", "Flowers102", "DTD", "RenderedSST2"), _THREE),
    **dict.fromkeys(("EuroSAT", "Caltech101", "Caltech256", "SUN397", "SEMEION"), _WHOLE),
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "Country211": {**_TWO, "val": {"split": "valid"}},
    "Imagenette": {"train": {"split": "train"}, "test": {"split": "val"}},
}


def torchvision_pictures(data: Data) -> tuple[Iterator[tuple[Image, str, str]], int]:
    """Give image, class name and split of each picture of ``data.dataset``, and their number.

    Raises:
        DataError: There is no such data set, or its files are not in ``data.original``.
    """
    name = str(data.dataset)
    if name not in SPLITS:
        near = difflib.get_close_matches(name, SPLITS, n=3) or SPLITS
        raise DataError(f"no data set {name!r} of torchvision's is known here: {', '.join(near)}")
    parts = {split: _open(data, name, SPLITS[name][split]) for split in SPLITS[name]}
    absent = {"val": data.val_fraction, "test": data.test_fraction}
    absent = {split: share for split, share in absent.items() if split not in parts}
    pictures = [_pictures(part, split, absent, data.seed) for split, part in parts.items()]
    return chain(*pictures), sum(len(part) for part in parts.values())


def _open(data: Data, name: str, options: dict[str, Any]) -> Any:
    try:
        return getattr(datasets, name)(str(data.original), **options, download=data.download)
    except (RuntimeError, OSError) as err:
        raise DataError(
            f"no {name} in {data.original} ({err}). Unpack it there as torchvision names its "
            "files, or fetch it with --set data.download=true"
        ) from err


def _pictures(
    part: Any, split: str, absent: dict[str, float], seed: int
) -> Iterator[tuple[Image, str, str]]:
    targets, order = _targets(part), _order(part)
    labels = [_label(part, targets[index]) for index in order]
    splits = [split] * len(part)
    if split == "train":
        splits = stratified(np.array(labels), absent, seed)
    for index, label, place in zip(order, labels, splits, strict=True):
        yield part[index][0], label, place


def _order(part: Any) -> list[int]:
    """Give the indices by file name where there are files: SUN397 finds its own in any order."""
    indices = range(len(part))
    files = getattr(part, "_image_files", None)
    return sorted(indices, key=files.__getitem__) if files else list(indices)


def _targets(part: Any) -> list[int]:
    """Give all targets without decoding an image, wherever this data set keeps them."""
    for name in ("targets", "labels", "_labels", "y"):
        if hasattr(part, name):
            return [int(target) for target in getattr(part, name)]
    return [int(target) for _, target in part._samples]  # noqa: SLF001 - no other place to look


def _label(part: Any, target: int) -> str:
    names = getattr(part, "classes", None) or getattr(part, "categories", None)
    name = names[target] if names else str(target)
    first = name if isinstance(name, str) else name[0]  # Imagenette gives all synonyms
    return first.replace("/", "-")  # it becomes a folder's name
