"""Explaining a run's answers to some images, as PNG files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from handlers.errors import ImageError
from handlers.preprocess import load_pixels, normalize
from marina.errors import DataError
from marina.progress import progress_bar
from marina.understanding import attribution, drawings, layers
from marina.understanding.method import Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from marina.train.run import Run


@dataclass(frozen=True)
class Explained:
    """One image.

    Attributes:
        file: The image.
        label: The likeliest class.
        probability: Its probability.
        pictures: The PNG files by method.
    """

    file: Path
    label: str
    probability: float
    pictures: dict[str, Path]

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina explain --json`` prints it."""
        return {
            "file": str(self.file),
            "label": self.label,
            "probability": self.probability,
            "pictures": {method: str(path) for method, path in self.pictures.items()},
        }


def explain(
    run: Run,
    files: Sequence[Path],
    folder: Path,
    methods: Sequence[Method] = tuple(Method),
    layer: str | None = None,
) -> list[Explained]:
    """Write ``<number>-<image>-<method>.png`` for each image and method.

    Args:
        run: Whose network answers.
        files: The images.
        folder: Where the pictures go.
        methods: Which ones.
        layer: For Grad-CAM and feature maps; None takes the last one that still says where
            for the first, and the last of each size for the second.

    Raises:
        DataError: A file is no image that the server would accept.
        TrainError: There is no such layer.
    """
    network = run.load_network()
    explained = []
    with progress_bar("explain", len(files)) as bar:
        for number, file in enumerate(files):
            stem = f"{number:03}-{file.stem}"
            explained.append(_explain(run, network, file, folder / stem, methods, layer))
            bar.advance()
    return explained


def _explain(
    run: Run,
    network: nn.Module,
    file: Path,
    stem: Path,
    methods: Sequence[Method],
    layer: str | None,
) -> Explained:
    spec = run.recipe.image
    try:
        pixels = load_pixels(file.read_bytes(), spec, run.recipe.serve.limits)  # (C, crop, crop)
    except (ImageError, OSError) as err:
        raise DataError(f"{file}: {err}") from err
    image = normalize(pixels[None], spec)  # (1, C, crop, crop)
    with torch.no_grad():
        probabilities = (network(image) / run.temperature).softmax(dim=1)[0]  # (classes,)
    target = int(probabilities.argmax())
    label, probability = run.labels[target], float(probabilities[target])
    title = f"{label} {probability:.1%}"
    chosen = [layer] if layer else layers.last_of_each_size(network, image)
    maps = layers.record(network, chosen, image)

    pictures = {}
    for method in methods:
        picture = stem.with_name(f"{stem.name}-{method}.png")
        if method is Method.feature_maps:
            drawings.feature_maps(maps, title, picture)
        elif method is Method.grad_cam:
            heat = attribution.grad_cam(network, image, target, chosen[-1])
            drawings.overlay(pixels, heat, f"{title}\nGrad-CAM, {chosen[-1]}", picture)
        else:
            heat = attribution.integrated_gradients(network, image, target)
            drawings.overlay(pixels, heat, f"{title}\nIntegrated Gradients", picture)
        pictures[method.value] = picture
    return Explained(file, label, probability, pictures)
