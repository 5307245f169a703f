"""Data that is not an image folder yet, written out once as one: ``root/<split>/<class>/*.png``.

Everything after this module sees only real image files, whatever the source was. ``source.json``
in the root says what was written, so that a recipe that asks for something else is not given it.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from marina.errors import DataError
from marina.files import whole_folder, write_whole
from marina.progress import progress_bar
from marina.recipe.data import Synthetic
from marina.train.splitting import stratified

if TYPE_CHECKING:
    from marina.recipe import Data

# Image, class name, split.
Pictures = Iterator[tuple[Image.Image, str, str]]


def prepare(data: Data) -> None:
    """Write the source of ``data`` out as an image folder at ``data.root``, unless it is there.

    Raises:
        DataError: The folder, or the source's own files, are not there; or the folder was written
            for other keys.
    """
    if data.source in {"folder", "list"}:
        if not data.root.is_dir():
            form = data.splits["train"] + ("/<class>/*" if data.source == "folder" else "")
            raise DataError(f"no image folder at {data.root}: expected {data.root}/{form}")
    elif data.root.exists():
        _check_written(data)
    else:
        _write(data)


def _check_written(data: Data) -> None:
    file = data.root / "source.json"
    if file.is_file() and json.loads(file.read_text()) != _origin(data):
        raise DataError(
            f"{data.root} was written for {file.read_text()}, and the recipe asks for "
            f"{json.dumps(_origin(data))}: remove that folder, or choose another data.root"
        )


def _origin(data: Data) -> dict[str, Any]:
    keys = {"source", "dataset", "synthetic", "val_fraction", "test_fraction", "seed"}
    return data.model_dump(mode="json", include=keys, exclude_none=True)


def _write(data: Data) -> None:
    pictures, total = _pictures(data)
    with whole_folder(data.root) as folder, progress_bar("write", total) as bar:
        for number, (picture, label, split) in enumerate(pictures):
            path = folder / data.splits[split] / label / f"{number:05}.png"  # type: ignore[index]
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
            bar.advance(note=str(data.root))
        write_whole(folder / "source.json", json.dumps(_origin(data)))


def _pictures(data: Data) -> tuple[Pictures, int]:
    if data.source == "torchvision":
        from marina.train.torchvision_source import torchvision_pictures

        return torchvision_pictures(data)
    if data.source == "digits":
        return _digits(data)
    if data.source == "synthetic":
        return _synthetic(data)
    return _photographs()


def _digits(data: Data) -> tuple[Pictures, int]:
    """Scikit-learn's copy of the UCI optical digits: 1,797 scans of 8×8 px, values 0 to 16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8)
    splits = stratified(bunch.target, _held_out(data), data.seed)
    labels = [str(target) for target in bunch.target]
    return zip(map(Image.fromarray, pixels), labels, splits, strict=True), len(labels)


def _synthetic(data: Data) -> tuple[Pictures, int]:
    """Stripes of a colour and a slope that tell the class, at a random phase, under noise."""
    made = data.synthetic or Synthetic()
    classes = np.arange(made.images) % made.classes  # as many of each
    splits = stratified(classes, _held_out(data), data.seed)
    width = len(str(made.classes - 1))
    generator = np.random.default_rng(data.seed)
    pictures = (
        (
            Image.fromarray(_stripes(number / made.classes, made.size_px, generator)),
            f"class{number:0{width}}",
            split,
        )
        for number, split in zip(classes, splits, strict=True)
    )
    return pictures, made.images


def _stripes(place: float, size_px: int, generator: np.random.Generator) -> np.ndarray:
    """Give pixels uint8 (size, size, 3) for a class at this place among all, in [0, 1)."""
    across, down = np.meshgrid(np.arange(size_px), np.arange(size_px))
    slope, phase = np.pi * place, generator.uniform(0, 2 * np.pi)
    along = (across * np.cos(slope) + down * np.sin(slope)) * (2 * np.pi * 4 / size_px)
    colour = np.array(colorsys.hsv_to_rgb(place, 0.5, 1.0))
    stripes = (0.5 + 0.4 * np.sin(along + phase))[..., None] * colour  # (size, size, 3)
    noisy = stripes + generator.normal(0, 0.15, stripes.shape)
    pixels: np.ndarray = (noisy.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _photographs() -> tuple[Pictures, int]:
    """Scikit-learn's china.jpg and flower.jpg, 640×427 px, as an unlabelled test split."""
    from sklearn.datasets import load_sample_images

    images = load_sample_images().images
    return ((Image.fromarray(pixels), "unlabelled", "test") for pixels in images), len(images)


def _held_out(data: Data) -> dict[str, float]:
    return {"val": data.val_fraction, "test": data.test_fraction}
