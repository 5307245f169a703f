"""Training, from a recipe to a finished run."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from marina.errors import DataError, TrainError
from marina.progress import console
from marina.train.architecture import build
from marina.train.augmentation import augmentation
from marina.train.checkpoints import Checkpoints, differences
from marina.train.dataset import AugmentedDataset, ImageDataset, dataset_digest, read_split
from marina.train.distributed import World, joined, share_batch_statistics
from marina.train.evaluation import evaluate
from marina.train.loop import Loop, Watcher
from marina.train.run import Run, environment
from marina.train.sources import prepare
from marina.train.state import TrainState

if TYPE_CHECKING:
    from torch import nn

    from marina.recipe import Recipe, Train


def train(recipe: Recipe, folder: Path | None = None, *, resume: bool = False) -> Run:
    """Train as the recipe says, keep the best epoch's weights, and test them.

    The epoch with the highest validation accuracy is kept, the later one of equals. Under torchrun
    this is called in each process, and gives each the same run.

    Args:
        recipe: What to train.
        folder: Of the run; ``runs/<name>/<timestamp>`` unless told otherwise.
        resume: Go on with the run in the folder, if one has begun there; without a folder, with the
            newest unfinished run of this recipe's name. A finished one is given back as it is.

    Raises:
        DataError: Images are missing, unreadable or unlabelled.
        TrainError: The architecture, its weights or the device are not to be had, the loss
            diverged, the folder holds a run already, or one that cannot be gone on with.
    """
    started = time.monotonic()
    with joined(recipe.train.device) as world, _numerics(recipe.train, world):
        if world.leads:
            prepare(recipe.data)
        world.wait()
        labels = read_split(recipe.data, "test").labels
        torch.manual_seed(recipe.train.seed)
        network = build(recipe.architecture, len(labels), recipe.image.channels)
        run, is_new = world.share(lambda: _open_run(recipe, labels, folder, resume))
        if run.is_finished:
            console.print(f"{run.folder} is finished already")
            return run
        try:
            state = _fit(run, network, world, started)
        except BaseException:
            if world.leads and is_new and not run.checkpoint.exists() and not run.last.exists():
                shutil.rmtree(run.folder)  # nothing worth keeping was made
            raise
        if world.leads:
            _finish(run, state, world, state.seconds + time.monotonic() - started)
    return run


def _open_run(
    recipe: Recipe, labels: tuple[str, ...], folder: Path | None, resume: bool
) -> tuple[Run, bool]:
    """Give the run, and whether it is a new one."""
    if not resume:
        return Run.create(recipe, labels, folder), True
    if folder is None:
        run = Run.newest_unfinished(Path("runs") / recipe.name)
    elif (folder / "recipe.yaml").is_file():
        run = Run(folder)
    else:
        return Run.create(recipe, labels, folder), True
    changed = differences(recipe, run.recipe)
    if changed:
        raise TrainError(
            f"{run.folder} was begun otherwise, and goes on only as it began: {'; '.join(changed)}"
        )
    return run, False


def _fit(run: Run, network: nn.Module, world: World, started: float) -> TrainState:
    recipe = run.recipe
    network = _on_device(network, recipe.train, world)
    state = TrainState.first(network, recipe.train)
    if recipe.train.epochs == 0:
        if world.leads:
            run.save_checkpoint(network, epoch=0)
        return state
    if run.last.exists():
        state.load(run.last)
        console.print(f"going on with {run.folder} at epoch {state.epoch}, step {state.step}")
    train_split, val_split = (read_split(recipe.data, name) for name in ("train", "val"))
    if not train_split.labelled:
        raise DataError("these images have no labels to train on: set train.epochs to 0")
    val_set = ImageDataset(val_split, recipe.image, recipe.serve.limits)
    train_set = AugmentedDataset(
        ImageDataset(train_split, recipe.image, recipe.serve.limits),
        augmentation(recipe.train.augment, recipe.image),
    )
    checkpoints = Checkpoints(run, started)
    watchers: list[Watcher] = [checkpoints]
    with ExitStack() as stack:
        if recipe.train.tensorboard and world.leads:
            from marina.train.board import board  # a second to import

            folder = run.folder / "tensorboard"
            watchers.append(stack.enter_context(board(folder, state, train_set, val_set, recipe)))
        Loop(state, train_set, val_set, recipe, world, watchers).run()
        if world.leads:
            checkpoints.write_last(state)
    return state


def _on_device(network: nn.Module, train: Train, world: World) -> nn.Module:
    """Bring the network to where and how it trains.

    Raises:
        TrainError: The batch cannot be shared out evenly.
    """
    parts = world.size * train.accumulate
    if train.batch_size % parts:
        raise TrainError(
            f"train.batch_size ({train.batch_size}) must be a multiple of processes × accumulate "
            f"({world.size} × {train.accumulate}): it is the whole step's"
        )
    if world.size > 1 and train.sync_batchnorm:
        network = share_batch_statistics(network, world.device)
    layout = torch.channels_last if train.channels_last else torch.preserve_format
    return network.to(world.device).to(memory_format=layout)


@contextmanager
def _numerics(train: Train, world: World) -> Iterator[None]:
    """Choose algorithms for speed or for the same bits each time, while the block runs."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if train.deterministic:
        # Without it cuBLAS refuses, since its default workspaces may change the order of sums.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(train.deterministic)
    torch.backends.cudnn.benchmark = world.device.type == "cuda" and not train.deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def _finish(run: Run, state: TrainState, world: World, seconds: float) -> None:
    metrics: dict[str, Any] = {
        "epochs": [epoch.as_dict() for epoch in state.history],
        "test": None,
        "dataset": {"root": str(run.recipe.data.root), "sha256": dataset_digest(run.recipe.data)},
        "environment": {**environment(), "device": str(world.device), "processes": world.size},
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
