"""Training, from a recipe to a finished run."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from marina.errors import DataError
from marina.files import sha256_tree
from marina.progress import console
from marina.train.architecture import build
from marina.train.augmentation import augmentation
from marina.train.dataset import ImageDataset, read_split
from marina.train.evaluation import evaluate
from marina.train.loop import Epoch, choose_device, fit
from marina.train.run import Run, environment

if TYPE_CHECKING:
    from torch import nn

    from marina.recipe import Recipe


def train(recipe: Recipe, folder: Path | None = None) -> Run:
    """Train as the recipe says, keep the best epoch's weights, and test them.

    The epoch with the highest validation accuracy is kept, the later one of equals.

    Raises:
        DataError: Images are missing, unreadable or unlabelled.
        TrainError: The architecture, its weights or the device are not to be had, the loss
            diverged, or the folder holds a run already.
    """
    start = time.perf_counter()
    torch.manual_seed(recipe.train.seed)
    labels = read_split(recipe.data, "test").labels
    device = choose_device(recipe.train.device)
    network = build(recipe.architecture, len(labels), recipe.image.channels).to(device)
    run = Run.create(recipe, labels, folder)
    try:
        epochs = _fit_and_keep_best(run, network)
    except BaseException:
        if not run.checkpoint.exists():
            shutil.rmtree(run.folder)  # nothing worth keeping was made
        raise
    _finish(run, epochs, device, time.perf_counter() - start)
    return run


def _fit_and_keep_best(run: Run, network: nn.Module) -> list[Epoch]:
    recipe = run.recipe
    epochs: list[Epoch] = []

    def keep(epoch: Epoch) -> None:
        if epoch.val_accuracy >= max((past.val_accuracy for past in epochs), default=0.0):
            run.save_checkpoint(network, epoch.epoch)
        epochs.append(epoch)

    if recipe.train.epochs == 0:
        run.save_checkpoint(network, epoch=0)
        return epochs
    train_split, val_split = (read_split(recipe.data, name) for name in ("train", "val"))
    if not train_split.labelled:
        raise DataError("these images have no labels to train on: set train.epochs to 0")
    change = augmentation(recipe.train.augment, recipe.image)
    limits = recipe.serve.limits
    fit(
        network,
        ImageDataset(train_split, recipe.image, limits, change),
        ImageDataset(val_split, recipe.image, limits),
        recipe,
        keep,
    )
    return epochs


def _finish(run: Run, epochs: list[Epoch], device: torch.device, seconds: float) -> None:
    metrics: dict[str, Any] = {
        "epochs": [epoch.as_dict() for epoch in epochs],
        "test": None,
        "dataset": {"root": str(run.recipe.data.root), "sha256": sha256_tree(run.recipe.data.root)},
        "environment": {**environment(), "device": str(device)},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
    }
    if read_split(run.recipe.data, "test").labelled:
        evaluation = evaluate(run)
        metrics["test"] = {"accuracy": evaluation.accuracy, "images": len(evaluation.split.files)}
        console.print(
            f"test accuracy {evaluation.accuracy:.2%} on {metrics['test']['images']} images"
        )
    run.save_metrics(metrics)
