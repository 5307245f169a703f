"""Images and their classes as tensors: uint8 pixels, prepared exactly as the server does it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from handlers.decode import decode
from handlers.errors import ImageError
from handlers.image_spec import PILLOW_MAX_PIXELS, ImageLimits
from handlers.preprocess import pixels
from marina.errors import DataError
from marina.files import sha256_file, sha256_tree
from marina.progress import console, progress_bar
from marina.train.lists import class_order, read_list
from marina.train.sources import prepare

if TYPE_CHECKING:
    from PIL import Image

    from handlers.image_spec import ImageSpec
    from marina.recipe import Data, SplitName

UNLABELLED = -1
# What decides whether a file is damaged: how large it may be is the recipe's own question.
_ANY_SIZE = ImageLimits(max_pixels=PILLOW_MAX_PIXELS, max_aspect_ratio=1e9)


@dataclass(frozen=True)
class Split:
    """The images of one split, in a fixed order.

    Attributes:
        root: The image folder.
        labels: Class names; a target is an index into them.
        files: Paths of the images.
        targets: One class index an image, or ``UNLABELLED``.
    """

    root: Path
    labels: tuple[str, ...]
    files: tuple[Path, ...]
    targets: tuple[int, ...]

    @property
    def labelled(self) -> bool:
        """Whether the truth is known for every image."""
        return UNLABELLED not in self.targets

    def relative(self, index: int) -> str:
        """Give the path of one image below the image folder; as it is, if it lies elsewhere."""
        file = self.files[index]
        return (file.relative_to(self.root) if file.is_relative_to(self.root) else file).as_posix()


def read_split(data: Data, name: SplitName) -> Split:
    """Find the images of a split, writing the source out as an image folder first if need be.

    Where ``data.on_error`` is ``skip``, every file is decoded, and the damaged ones are named on
    stderr and left out.

    Raises:
        DataError: The split, or an image in it, is not there, or its classes are not those of
            the training split.
    """
    prepare(data)
    if data.source == "list":
        split = _read_listed(data, name)
    elif data.labels == "imagenet":
        return _unlabelled(data.root, data.root / data.splits[name], _imagenet_labels())
    else:
        split = _read_folder(data, name)
    return _without_damaged(split) if data.on_error == "skip" else split


def _read_folder(data: Data, name: SplitName) -> Split:
    folder = data.root / data.splits[name]
    labels = _classes(data.root / data.splits["train"])
    strangers = sorted(set(_classes(folder)) - set(labels))
    if strangers:
        raise DataError(f"{folder} has classes that the training split lacks: {strangers}")
    found = [(file, labels.index(label)) for label in labels for file in images_in(folder / label)]
    if not found:
        raise DataError(f"no image in {folder}: expected {folder}/<class>/*.png, .jpg, …")
    files, targets = zip(*found, strict=True)
    return Split(data.root, labels, files, targets)


def _read_listed(data: Data, name: SplitName) -> Split:
    listed = read_list(data.root / data.splits[name], data.root)
    training = read_list(data.root / data.splits["train"], data.root)
    labels = class_order({label for _, label in training})
    strangers = sorted({label for _, label in listed} - set(labels))
    if strangers:
        raise DataError(
            f"{data.root / data.splits[name]} has classes that the training list lacks: {strangers}"
        )
    files, found = zip(*listed, strict=True)
    return Split(data.root, labels, files, tuple(labels.index(label) for label in found))


def _unlabelled(root: Path, folder: Path, labels: tuple[str, ...]) -> Split:
    files = images_in(folder / "unlabelled")
    return Split(root, labels, files, (UNLABELLED,) * len(files))


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: each split is a folder with a folder per class")
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))


def images_in(folder: Path) -> tuple[Path, ...]:
    """Give the image files below a folder, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
    )


def _imagenet_labels() -> tuple[str, ...]:
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


@lru_cache(maxsize=8)
def _without_damaged(split: Split) -> Split:
    """Leave out the files that cannot be decoded; once a split and process."""
    with ThreadPoolExecutor() as threads, progress_bar("decode", len(split.files)) as bar:
        sound = []
        for index, damage in enumerate(threads.map(damage_of, split.files)):
            bar.advance()
            if damage is None:
                sound.append(index)
            else:
                console.print(f"skipped {split.files[index]}: {damage}", markup=False)
    if not sound:
        raise DataError(f"none of the {len(split.files)} images of a split can be decoded")
    return subset(split, sound)


def damage_of(file: Path) -> str | None:
    """Say why a file cannot be decoded, or None if it can be."""
    try:
        decode(file.read_bytes(), "RGB", _ANY_SIZE)
    except (ImageError, OSError) as err:
        return str(err)
    return None


def subset(split: Split, indices: Sequence[int]) -> Split:
    """Give the images of these indices as a split."""
    return replace(
        split,
        files=tuple(split.files[index] for index in indices),
        targets=tuple(split.targets[index] for index in indices),
    )


def dataset_digest(data: Data) -> str:
    """Give one SHA-256 over all images and their classes.

    It is that of the image folder; for lists, of the lists and the files that they name.
    """
    if data.source != "list":
        return sha256_tree(data.root)
    digest = hashlib.sha256()
    for name in dict.fromkeys(data.splits.values()):
        for file, label in read_list(data.root / name, data.root):
            digest.update(f"{name}\0{label}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Pixels and target of each image of a split, the pixels as the server would compute them.

    Args:
        split: The images.
        spec: How to resize and crop them.
        limits: What is too large to decode.
    """

    def __init__(self, split: Split, spec: ImageSpec, limits: ImageLimits):
        self.split = split
        self._spec = spec
        self._limits = limits

    def __len__(self) -> int:
        return len(self.split.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Give pixels (C, crop, crop) uint8 and the class index.

        Raises:
            DataError: The file is no readable image; the message names it.
        """
        image = self.image(index, self._spec.shrink_px)
        return pixels(image, self._spec), self.split.targets[index]

    def image(self, index: int, shrink_px: int | None = None) -> Image.Image:
        """Decode one image; augmentation wants all of its pixels.

        Args:
            index: Its place in the split.
            shrink_px: See ``handlers.decode.decode``.

        Raises:
            DataError: The file is no readable image; the message names it.
        """
        file = self.split.files[index]
        try:
            return decode(file.read_bytes(), self._spec.mode, self._limits, shrink_px)
        except (ImageError, OSError) as err:
            raise DataError(
                f"{file}: {err}. Mend or remove it, or leave out what cannot be decoded with "
                "--set data.on_error=skip"
            ) from err


class Draw(NamedTuple):
    """One image as it comes up in an epoch.

    Attributes:
        image: Its index in the split.
        seed: Of its augmentation.
    """

    image: int
    seed: int


class AugmentedDataset(Dataset[tuple[torch.Tensor, int]]):
    """Pixels and target of each draw, changed at random by the draw's own seed.

    So what an image looks like hangs on nothing but the draw: not on the process that loads it,
    nor on what was loaded before.

    Args:
        images: Where they come from.
        augmentation: From a decoded image to uint8 pixels (C, crop, crop).
    """

    def __init__(self, images: ImageDataset, augmentation: Callable[[Image.Image], torch.Tensor]):
        self.images = images
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> tuple[torch.Tensor, int]:
        """Give pixels (C, crop, crop) uint8 and the class index.

        Raises:
            DataError: The file is no readable image; the message names it.
        """
        image = self.images.image(draw.image)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw.seed)  # the devices' take 0.7 ms
            return self._augmentation(image), self.images.split.targets[draw.image]
