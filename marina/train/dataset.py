"""An image folder as tensors: uint8 pixels, prepared exactly as the server prepares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from handlers.decode import decode
from handlers.errors import ImageError
from handlers.preprocess import pixels
from marina.errors import DataError
from marina.train.sources import prepare

if TYPE_CHECKING:
    from PIL import Image

    from handlers.image_spec import ImageLimits, ImageSpec
    from marina.recipe import Data, SplitName

UNLABELLED = -1


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
        """Give the path of one image below the image folder."""
        return self.files[index].relative_to(self.root).as_posix()


def read_split(data: Data, name: SplitName) -> Split:
    """Find the images of a split, writing the source out as an image folder first if need be.

    Raises:
        DataError: The split, or an image in it, is not there, or its classes are not those of
            the training split.
    """
    prepare(data)
    folder = data.root / data.splits[name]
    if data.labels == "imagenet":
        return _unlabelled(data.root, folder, _imagenet_labels())
    labels = _classes(data.root / data.splits["train"])
    strangers = sorted(set(_classes(folder)) - set(labels))
    if strangers:
        raise DataError(f"{folder} has classes that the training split lacks: {strangers}")
    found = [(file, labels.index(label)) for label in labels for file in _images(folder / label)]
    if not found:
        raise DataError(f"no image in {folder}: expected {folder}/<class>/*.png, .jpg, …")
    files, targets = zip(*found, strict=True)
    return Split(data.root, labels, files, targets)


def _unlabelled(root: Path, folder: Path, labels: tuple[str, ...]) -> Split:
    files = _images(folder / "unlabelled")
    return Split(root, labels, files, (UNLABELLED,) * len(files))


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: each split is a folder with a folder per class")
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))


def _images(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
    )


def _imagenet_labels() -> tuple[str, ...]:
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Pixels and target of each image of a split.

    Args:
        split: The images.
        spec: How to resize and crop them.
        limits: What is too large to decode.
        augmentation: From a decoded image to uint8 pixels (C, crop, crop); without it the
            pixels are those that the server would compute.
    """

    def __init__(
        self,
        split: Split,
        spec: ImageSpec,
        limits: ImageLimits,
        augmentation: Callable[[Image.Image], torch.Tensor] | None = None,
    ):
        self.split = split
        self._spec = spec
        self._limits = limits
        self._prepare = augmentation or self._server_pixels

    def __len__(self) -> int:
        return len(self.split.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Give pixels (C, crop, crop) uint8 and the class index.

        Raises:
            DataError: The file is no readable image; the message names it.
        """
        file = self.split.files[index]
        try:
            image = decode(file.read_bytes(), self._spec.mode, self._limits)
        except ImageError as err:
            raise DataError(f"{file}: {err}. Mend or remove it") from err
        return self._prepare(image), self.split.targets[index]

    def _server_pixels(self, image: Image.Image) -> torch.Tensor:
        return pixels(image, self._spec)
