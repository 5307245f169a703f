"""Batches: which images make up each step, and the processes that load them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from marina.errors import DataError
from marina.train.dataset import AugmentedDataset, Draw, ImageDataset, Split
from marina.train.seeds import seed_of

if TYPE_CHECKING:
    from marina.recipe import Train
    from marina.train.distributed import World

ORDER, AUGMENTATION = 1, 2  # what a seed is for


class StepSampler(Sampler[list[Draw]]):
    """This process's images of each step of an epoch, in the epoch's own order.

    The order hangs on the recipe's seed and the epoch alone. Each process takes every world-th
    image of a step's batch, so a step sees the same images however many processes there are.
    Images beyond the last whole batch make a smaller one, unless it would leave a piece of it
    fewer than two images, on which batch normalization has no statistics; then they sit this
    epoch out.

    Attributes:
        epoch: Of the next pass.
        first_step: Where the next pass begins, for a run that goes on within an epoch.
    """

    def __init__(self, split: Split, train: Train, world: World):
        self._images = len(split.files)
        self._weights = class_balance(split) if train.sampling == "balanced" else None
        self._train = train
        self._world = world
        self.epoch = 1
        self.first_step = 0
        whole, rest = divmod(self._images, train.batch_size)
        smallest = 2 * world.size * train.accumulate
        self._steps = whole + (rest >= smallest)
        if not self._steps:
            raise DataError(
                f"{self._images} training images make no step: expected at least "
                f"{min(smallest, train.batch_size)}, two for each process and piece of a batch"
            )

    def __len__(self) -> int:
        return self._steps

    @property
    def images(self) -> int:
        """How many images an epoch shows, over all processes."""
        return min(self._images, self._steps * self._train.batch_size)

    def step_images(self, step: int) -> int:
        """How many images a step shows, over all processes; steps count from 0."""
        size = self._train.batch_size
        return min(size, self._images - step * size)

    def __iter__(self) -> Iterator[list[Draw]]:
        order = self._order()
        size = self._train.batch_size
        for step in range(self.first_step, self._steps):
            end = min((step + 1) * size, self._images)
            mine = range(step * size + self._world.rank, end, self._world.size)
            yield [
                Draw(order[p], seed_of(self._train.seed, AUGMENTATION, self.epoch, p)) for p in mine
            ]

    def _order(self) -> list[int]:
        seed = seed_of(self._train.seed, ORDER, self.epoch)
        generator = torch.Generator().manual_seed(seed)
        if self._weights is None:
            order = torch.randperm(self._images, generator=generator)
        else:
            order = torch.multinomial(
                self._weights, self._images, replacement=True, generator=generator
            )
        indices: list[int] = order.tolist()
        return indices


def class_balance(split: Split) -> torch.Tensor:
    """Give each image a weight such that all classes that occur weigh the same, (images,)."""
    targets = torch.tensor(split.targets)
    return 1.0 / torch.bincount(targets)[targets].double()


def train_loader(
    dataset: AugmentedDataset, sampler: StepSampler, train: Train, world: World
) -> DataLoader[Any]:
    """Give this process's part of each step: ``(pixels uint8 (N, C, H, W), targets int64 (N,))``.

    Workers live on from epoch to epoch. The dataset draws from the seed of each draw; whatever
    else may draw in a worker (numpy, random) has a seed of the recipe's and the worker's own.
    """
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=train.workers,
        persistent_workers=train.workers > 0,
        pin_memory=world.device.type == "cuda",
        worker_init_fn=_seed_worker,
        generator=torch.Generator().manual_seed(seed_of(train.seed, world.rank)),
    )


def val_loader(dataset: ImageDataset, train: Train, world: World) -> DataLoader[Any]:
    """Give this process's part of the validation images, every world-th, in order."""
    mine: Sequence[int] = range(world.rank, len(dataset), world.size)
    return DataLoader(
        dataset,
        batch_size=max(1, train.batch_size // world.size),
        sampler=mine,
        num_workers=train.workers,
        persistent_workers=train.workers > 0,
        pin_memory=world.device.type == "cuda",
    )


def _seed_worker(_: int) -> None:
    seed = torch.initial_seed() % 2**32  # DataLoader's own: from the generator and the worker
    random.seed(seed)
    np.random.seed(seed)
