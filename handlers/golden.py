"""Golden images: what the lab's model answered, to be answered the same wherever it serves.

A folder holds ``golden.json`` and the images beside it::

    {"format": 1, "atol": {"cpu": 0.001, "cuda": 0.05},
     "images": [{"file": "0.png", "label": "7", "logits": [-1.5, 0.25, 8.75]}]}

Reading it needs the standard library alone: the launcher probes readiness with the same images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from handlers.errors import GoldenMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

    import torch

FORMAT = 1
FILE = "golden.json"


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """One image and its answer in the lab.

    Attributes:
        file: Its name in the folder.
        label: Name of the class with the largest logit.
        logits: The model's output, one value a class.
        data: The image file.
    """

    file: str
    label: str
    logits: tuple[float, ...]
    data: bytes

    @property
    def index(self) -> int:
        """Index of the largest logit."""
        return _largest(self.logits)


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden images of one archive.

    Attributes:
        images: At least one.
        atol: Largest difference allowed of any logit, by device type (``cpu``, ``cuda``).
    """

    images: tuple[GoldenImage, ...]
    atol: Mapping[str, float]

    @classmethod
    def load(cls, folder: Traversable) -> Golden:
        """Read a golden folder.

        Args:
            folder: A ``pathlib.Path``, or a ``zipfile.Path`` into an archive.

        Returns:
            The images with their answers.

        Raises:
            OSError: ``golden.json`` or an image that it names is not there.
            ValueError: ``golden.json`` is of another format, or incomplete.
        """
        document = json.loads(folder.joinpath(FILE).read_bytes())
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"{FILE}: expected format {FORMAT}: archive the model again")
        try:
            images = tuple(_read_image(folder, entry) for entry in document["images"])
            atol = {str(device): float(value) for device, value in document["atol"].items()}
        except (KeyError, TypeError, AttributeError) as err:
            raise ValueError(f"{FILE}: incomplete ({err!r}): archive the model again") from err
        if not images:
            raise ValueError(f"{FILE}: expected at least one image: archive the model again")
        return cls(images, atol)

    def first(self, count: int) -> Golden:
        """Give the first images alone, and the same again where there are fewer."""
        return replace(self, images=tuple(islice(cycle(self.images), count)))

    def agreement(self, logits: torch.Tensor) -> float:
        """Give the share of ``images`` whose top-1 class is the lab's.

        Args:
            logits: Shape (N, classes), one row for each of ``images``, in their order.
        """
        here: list[int] = logits.argmax(dim=1).tolist()
        same = sum(image.index == best for image, best in zip(self.images, here, strict=True))
        return same / len(self.images)

    def check(self, logits: torch.Tensor, device_type: str) -> None:
        """Compare logits with the lab's.

        A largest logit that changed places within the tolerance was a tie in the lab, and passes.

        Args:
            logits: Shape (N, classes), one row for each of ``images``, in their order.
            device_type: ``cpu`` or ``cuda``.

        Raises:
            GoldenMismatch: A logit differs by more than the tolerance, is not finite, or there
                are not as many. The message names the image, and by how much it differs.
            ValueError: No tolerance is known for the device.
        """
        if device_type not in self.atol:
            raise ValueError(f"{FILE}: no tolerance for {device_type}: archive the model again")
        rows: list[list[float]] = logits.tolist()
        for image, row in zip(self.images, rows, strict=True):
            _compare(image, row, self.atol[device_type])


def _read_image(folder: Traversable, entry: Mapping[str, Any]) -> GoldenImage:
    file = str(entry["file"])
    if PurePosixPath(file).name != file:
        raise ValueError(f"{FILE}: expected the plain name of a file beside it, got {file!r}")
    logits = tuple(float(value) for value in entry["logits"])
    if not logits:
        raise ValueError(f"{FILE}: no logits for {file}: archive the model again")
    return GoldenImage(file, str(entry["label"]), logits, folder.joinpath(file).read_bytes())


def _compare(image: GoldenImage, logits: Sequence[float], atol: float) -> None:
    if len(logits) != len(image.logits):
        raise GoldenMismatch(
            f"golden image {image.file}: the lab gave {len(image.logits)} logits, "
            f"this worker {len(logits)}. Model and golden images are not of the same export: "
            "archive again"
        )
    differences = [abs(here - lab) for here, lab in zip(logits, image.logits, strict=True)]
    worst = max(differences, key=lambda value: math.inf if math.isnan(value) else value)
    if worst <= atol:
        return
    here = _largest(logits)
    flip = f", top-1 is class {here}, not {image.index}" if here != image.index else ""
    raise GoldenMismatch(
        f"golden image {image.file} ({image.label}): logits differ from the lab's by up to "
        f"{worst:.4g} (tolerance {atol:g}){flip}. The model, the preprocessing or the libraries "
        "are not those that were evaluated: archive again, or serve with the versions that "
        "provenance.json names"
    )


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
