"""Evaluation: a run's network on the images of a split, through the server's own preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from handlers.preprocess import normalize
from marina.errors import DataError
from marina.progress import progress_bar
from marina.train.dataset import ImageDataset, Split, read_split

if TYPE_CHECKING:
    from collections.abc import Callable

    from marina.recipe import Recipe, SplitName
    from marina.train.run import Run


@dataclass(frozen=True)
class Evaluation:
    """The answers to the images of a split.

    Attributes:
        split: The images.
        logits: float32 (images, classes).
    """

    split: Split
    logits: torch.Tensor

    @property
    def predicted(self) -> torch.Tensor:
        """Class index of each image's largest logit, int64 (images,)."""
        return self.logits.argmax(dim=1)

    @property
    def accuracy(self) -> float:
        """Share of the images whose top-1 is right."""
        right = self.predicted == torch.tensor(self.split.targets)
        return float(right.float().mean())

    def as_dict(self) -> dict[str, Any]:
        """Give the figures and the rows as ``marina evaluate --json`` prints them."""
        rows = self.rows()
        return {"accuracy": self.accuracy, "images": len(rows), "rows": rows}

    def rows(self) -> list[dict[str, Any]]:
        """Give file, truth, predicted class and its probability for each image."""
        probabilities = self.logits.softmax(dim=1).amax(dim=1)
        labels = self.split.labels
        return [
            {
                "file": self.split.relative(index),
                "truth": labels[target],
                "predicted": labels[guess],
                "probability": probability,
            }
            for index, (target, guess, probability) in enumerate(
                zip(
                    self.split.targets,
                    self.predicted.tolist(),
                    probabilities.tolist(),
                    strict=True,
                )
            )
        ]


def evaluate(run: Run, name: SplitName = "test") -> Evaluation:
    """Evaluate a run's best weights on a labelled split, on the CPU.

    Raises:
        DataError: The split has no labels, or its images are not there.
    """
    split = read_split(run.recipe.data, name)
    if not split.labelled:
        raise DataError(
            f"the {name} images of {run.recipe.name} have no labels, so there is no accuracy to "
            "tell. `marina export` still proves parity on them"
        )
    return Evaluation(split, infer(run.load_network(), split, run.recipe))


@torch.inference_mode()
def infer(
    network: Callable[[torch.Tensor], torch.Tensor], split: Split, recipe: Recipe
) -> torch.Tensor:
    """Give the logits (images, classes) of a network that is on the CPU, in evaluation mode."""
    dataset = ImageDataset(split, recipe.image, recipe.serve.limits)
    batches = DataLoader(dataset, recipe.train.batch_size, num_workers=recipe.train.workers)
    logits = []
    with progress_bar("evaluate", len(batches)) as bar:
        for images, _ in batches:
            logits.append(network(normalize(images, recipe.image)))
            bar.advance()
    return torch.cat(logits)  # (images, classes)
