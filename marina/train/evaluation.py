"""Evaluation: a run's network on the images of a split, through the server's own preprocessing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from handlers.preprocess import normalize
from marina.errors import DataError
from marina.progress import progress_bar
from marina.train.dataset import ImageDataset, Split, read_split
from marina.train.distributed import choose_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from marina.recipe import Recipe, SplitName
    from marina.train.run import Run

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Throughput:
    """How fast the images were answered.

    Attributes:
        images_per_s: From the files to the logits.
        network_images_per_s: The network alone.
        batch_size: Images in one forward pass.
        device: Where the network was, such as ``cpu``.
        threads: Of torch, on the CPU.
    """

    images_per_s: float
    network_images_per_s: float
    batch_size: int
    device: str
    threads: int = field(default_factory=torch.get_num_threads)


@dataclass(frozen=True)
class Evaluation:
    """The answers to the images of a split.

    Attributes:
        split: The images.
        logits: float32 (images, classes), on the CPU.
        throughput: How fast they were answered.
        temperature: What logits are divided by before softmax, here as in the server.
    """

    split: Split
    logits: torch.Tensor
    throughput: Throughput
    temperature: float = 1.0

    @property
    def targets(self) -> torch.Tensor:
        """Class index of each image's truth, int64 (images,)."""
        return torch.tensor(self.split.targets)

    @property
    def probabilities(self) -> torch.Tensor:
        """What the server would answer, float32 (images, classes)."""
        return (self.logits / self.temperature).softmax(dim=1)

    @property
    def predicted(self) -> torch.Tensor:
        """Class index of each image's largest logit, int64 (images,)."""
        return self.logits.argmax(dim=1)

    @property
    def accuracy(self) -> float:
        """Share of the images whose top-1 is right."""
        return int((self.predicted == self.targets).sum()) / len(self.targets)

    def as_dict(self) -> dict[str, Any]:
        """Give the figures and the rows as ``marina evaluate --json`` prints them."""
        rows = self.rows()
        return {"accuracy": self.accuracy, "images": len(rows), "rows": rows}

    def rows(self) -> list[dict[str, Any]]:
        """Give file, truth, predicted class and its probability for each image."""
        probabilities = self.probabilities.amax(dim=1)
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


def evaluate(run: Run, name: SplitName = "test", device: str = "cpu") -> Evaluation:
    """Evaluate a run's best weights on a labelled split.

    Raises:
        DataError: The split has no labels, its images are not there, or its classes are not
            those that the run was trained on.
        TrainError: There is no checkpoint, or no such device.
    """
    split = read_split(run.recipe.data, name)
    if not split.labelled:
        raise DataError(
            f"the {name} images of {run.recipe.name} have no labels, so there is no accuracy to "
            "tell. `marina export` still proves parity on them"
        )
    return evaluate_on(run, split, device)


def evaluate_on(run: Run, split: Split, device: str = "cpu") -> Evaluation:
    """Evaluate a run's best weights on labelled images, its own or another run's.

    Raises:
        DataError: The images' classes are not those that the run was trained on.
        TrainError: There is no checkpoint, or no such device.
    """
    if split.labels != run.labels:
        odd = sorted(set(split.labels) ^ set(run.labels))
        raise DataError(
            f"{split.root} has {len(split.labels)} classes, {run.folder} was trained on "
            f"{len(run.labels)}; only one of them has {odd[:5]}. Give the images it was trained for"
        )
    where = choose_device(device)
    network = _Timed(run.load_network().to(where), where)
    start = time.perf_counter()
    logits = infer(network, split, run.recipe, where).cpu()
    seconds = time.perf_counter() - start
    throughput = Throughput(
        images_per_s=len(split.files) / seconds,
        network_images_per_s=len(split.files) / network.seconds,
        batch_size=run.recipe.train.batch_size,
        device=str(where),
    )
    return Evaluation(split, logits, throughput, run.temperature)


class _Timed:
    """A network that counts the seconds it takes."""

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], device: torch.device):
        self.seconds = 0.0
        self._network = network
        self._device = device

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        logits = self._network(images)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds += time.perf_counter() - start
        return logits


@torch.inference_mode()
def infer(
    network: Callable[[torch.Tensor], torch.Tensor],
    split: Split,
    recipe: Recipe,
    device: torch.device = _CPU,
) -> torch.Tensor:
    """Give the logits (images, classes) of a network in evaluation mode.

    Args:
        network: From normalized images (N, C, crop, crop), float32, to logits (N, classes).
        split: The images.
        recipe: How they are prepared.
        device: Where the network is.
    """
    dataset = ImageDataset(split, recipe.image, recipe.serve.limits)
    batches = DataLoader(dataset, recipe.train.batch_size, num_workers=recipe.train.workers)
    logits = []
    with progress_bar("evaluate", len(batches)) as bar:
        for images, _ in batches:
            logits.append(network(normalize(images.to(device), recipe.image)))
            bar.advance()
    return torch.cat(logits)  # (images, classes)
