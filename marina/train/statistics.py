"""What a recipe's images are like: one streaming pass over all splits."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import torch
import yaml
from torch.utils.data import DataLoader, Dataset

from handlers.decode import decode
from handlers.errors import ImageError
from handlers.preprocess import pixels
from marina.errors import DataError, RecipeError
from marina.files import write_whole
from marina.progress import progress_bar
from marina.recipe import SplitName
from marina.train.dataset import UNLABELLED, Split, read_split

if TYPE_CHECKING:
    from marina.recipe import Data, Recipe


@dataclass(frozen=True)
class Statistics:
    """The figures of a data set.

    Attributes:
        mean: Of each channel over the training pixels, resized and cropped, in [0, 1].
        std: Likewise.
        counts: Images of each class, by split.
        sizes: How many images have a shorter side of at least so many pixels, but not twice that.
        unreadable: Files that cannot be decoded, and why.
        duplicates: Groups of files of one content within one split.
        leaks: Groups of files of one content in several splits.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    counts: dict[str, dict[str, int]]
    sizes: dict[int, int]
    unreadable: dict[str, str]
    duplicates: list[list[str]]
    leaks: list[list[str]]

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as ``marina data stats --json`` prints them."""
        return dict(vars(self))


class _Scanned(NamedTuple):
    """What one file gave; ``sums`` holds each channel's sum and sum of squares, (2, C) float64."""

    sha256: str
    shorter_px: int
    pixels: int
    sums: torch.Tensor | None
    damage: str | None


class _Scan(Dataset[_Scanned]):
    def __init__(self, split: Split, recipe: Recipe):
        self._files = split.files
        self._spec = recipe.image
        self._limits = recipe.serve.limits

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> _Scanned:
        data = self._files[index].read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            image = decode(data, self._spec.mode, self._limits)
        except ImageError as err:
            return _Scanned(sha256, 0, 0, None, str(err))
        values = pixels(image, self._spec).double() / 255  # (C, H, W)
        sums = torch.stack([values.sum((1, 2)), values.square().sum((1, 2))])  # (2, C)
        return _Scanned(sha256, min(image.size), values[0].numel(), sums, None)


def measure(recipe: Recipe) -> Statistics:
    """Read every image once.

    Raises:
        DataError: A split is not there, or no training image can be decoded.
    """
    splits = _all_splits(recipe.data)
    counts: dict[str, dict[str, int]] = {}
    sizes: Counter[int] = Counter()
    unreadable: dict[str, str] = {}
    contents: dict[str, list[tuple[str, str]]] = defaultdict(list)
    sums, total = torch.zeros(2, recipe.image.channels, dtype=torch.float64), 0
    with progress_bar("read", sum(len(split.files) for split in splits.values())) as bar:
        for name, split in splits.items():
            counts[name] = _class_counts(split)
            for index, scanned in enumerate(_scan(split, recipe)):
                bar.advance(note=name)
                file = split.relative(index)
                contents[scanned.sha256].append((name, file))
                if scanned.damage is not None:
                    unreadable[file] = scanned.damage
                    continue
                sizes[_octave(scanned.shorter_px)] += 1
                if name == "train" and scanned.sums is not None:
                    sums, total = sums + scanned.sums, total + scanned.pixels
    if not total:
        raise DataError(f"no training image of {recipe.name} can be decoded")
    mean, square = sums / total
    std = (square - mean.square()).clamp_min(0).sqrt()
    return Statistics(
        mean=tuple(round(value, 4) for value in mean.tolist()),
        std=tuple(round(value, 4) for value in std.tolist()),
        counts=counts,
        sizes=dict(sorted(sizes.items())),
        unreadable=unreadable,
        duplicates=_groups(contents, several_splits=False),
        leaks=_groups(contents, several_splits=True),
    )


def find_leaks(data: Data) -> list[list[str]]:
    """Give the groups of files of one content that lie in several splits."""
    contents: dict[str, list[tuple[str, str]]] = defaultdict(list)
    splits = _all_splits(data)
    with progress_bar("hash", sum(len(split.files) for split in splits.values())) as bar:
        for name, split in splits.items():
            for index, file in enumerate(split.files):
                sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
                contents[sha256].append((name, split.relative(index)))
                bar.advance(note=name)
    return _groups(contents, several_splits=True)


def _all_splits(data: Data) -> dict[SplitName, Split]:
    """Read the splits as they are, damaged files too; one that stands for two is read once."""
    data = data.model_copy(update={"on_error": "fatal"})
    places = {data.splits[name]: name for name in reversed(get_args(SplitName))}
    names = [name for name in get_args(SplitName) if name in places.values()]
    return {name: read_split(data, name) for name in names}


def _scan(split: Split, recipe: Recipe) -> Iterator[_Scanned]:
    return iter(DataLoader(_Scan(split, recipe), None, num_workers=recipe.train.workers))


def _class_counts(split: Split) -> dict[str, int]:
    found = Counter(split.targets)
    counts = {label: found[target] for target, label in enumerate(split.labels)}
    return {"unlabelled": found[UNLABELLED]} if found[UNLABELLED] else counts


def _octave(side_px: int) -> int:
    return 1 << (side_px.bit_length() - 1)


def _groups(contents: dict[str, list[tuple[str, str]]], *, several_splits: bool) -> list[list[str]]:
    return [
        [file for _, file in places]
        for places in contents.values()
        if len(places) > 1 and (len({split for split, _ in places}) > 1) == several_splits
    ]


def write_mean_and_std(file: Path, statistics: Statistics) -> None:
    """Put the mean and std into a recipe's ``image:``, leaving every other byte as it was.

    Raises:
        RecipeError: The file has no such section, or no such keys in it.
    """
    text = file.read_text()
    for key in ("mean", "std"):
        spans = _spans(yaml.compose(text, yaml.SafeLoader), "image")  # of the text as it now is
        if key not in spans:
            raise RecipeError(f"{file} has no image.{key} to write to")
        start, end = spans[key]
        end = start + len(text[start:end].rstrip())  # a list over several lines ends in the next
        text = f"{text[:start]}{list(getattr(statistics, key))}{text[end:]}"
    write_whole(file, text)


def _spans(node: Any, section: str) -> dict[str, tuple[int, int]]:
    """Give where each value of a section stands in the text."""
    sections = {key.value: value for key, value in node.value}
    if section not in sections:
        return {}
    return {
        key.value: (value.start_mark.index, value.end_mark.index)
        for key, value in sections[section].value
    }
