"""The training loop: plain torch, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from handlers.preprocess import normalize
from marina.errors import TrainError
from marina.progress import progress_bar
from marina.train.augmentation import mixing
from marina.train.loader import StepSampler, train_loader, val_loader
from marina.train.objective import objective
from marina.train.optimizer import take_step
from marina.train.schedule import lr_factor, stops_early
from marina.train.seeds import seed_of
from marina.train.stages import freeze_all_but, learning_stages, stages
from marina.train.state import Epoch, Tally, TrainState

if TYPE_CHECKING:
    from marina.progress import Bar
    from marina.recipe import Recipe
    from marina.train.dataset import AugmentedDataset, ImageDataset
    from marina.train.distributed import World

STEP = 3  # what a seed is for; see marina/train/loader.py
_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SHOW_EVERY_S = 0.5  # reading the loss waits for the device


class Watcher(Protocol):
    """What is told of a training as it goes; on rank 0 only."""

    def after_step(self, state: TrainState) -> None:
        """Take note of a step."""

    def after_epoch(self, state: TrainState, logits: torch.Tensor) -> None:
        """Take note of an epoch, which is in the history now, and its validation logits.

        Args:
            state: As the epoch left it.
            logits: float32 (images, classes), on the CPU, in the validation split's order.
        """


class Loop:
    """Training as a recipe says, from any state on.

    Args:
        state: Changed in place.
        train_set: The training images.
        val_set: The validation images.
        recipe: The whole of it.
        world: This process and its mates.
        watchers: Told after each step and epoch.
    """

    def __init__(
        self,
        state: TrainState,
        train_set: AugmentedDataset,
        val_set: ImageDataset,
        recipe: Recipe,
        world: World,
        watchers: Sequence[Watcher],
    ):
        split = train_set.images.split
        self._state = state
        self._train = recipe.train
        self._spec = recipe.image
        self._world = world
        self._watchers = watchers if world.leads else ()
        self._sampler = StepSampler(split, recipe.train, world)
        self._batches = train_loader(train_set, self._sampler, recipe.train, world)
        self._val_batches = val_loader(val_set, recipe.train, world)
        self._val_targets = torch.tensor(val_set.split.targets)  # (images,)
        self._loss = objective(recipe.train, split, world.device)
        self._mix = mixing(recipe.train.mix, len(split.labels)) if recipe.train.mix else None
        self._learning: frozenset[int] | None = None
        self._forward: nn.Module = state.network

    def run(self) -> None:
        """Train to the last epoch, or until the recipe's early stopping.

        Raises:
            TrainError: The loss is no longer a finite number.
            DataError: An image cannot be read.
        """
        state, train, steps = self._state, self._train, len(self._sampler)
        done = (state.epoch - 1) * steps + state.step
        with progress_bar("train", train.epochs * steps, done) as bar:
            while state.epoch <= train.epochs and not self._stops_early():
                self.run_epoch(bar)

    def run_epoch(self, bar: Bar | None = None) -> None:
        """Train what is left of the epoch under way, and validate.

        Raises:
            TrainError: The loss is no longer a finite number.
            DataError: An image cannot be read.
        """
        self._train_epoch(bar)
        start = time.perf_counter()
        logits = self._validate()
        epoch = self._finish_epoch(logits, time.perf_counter() - start)
        if bar:
            bar.advance(0, _told(epoch))
        for watcher in self._watchers:
            watcher.after_epoch(self._state, logits)

    def _stops_early(self) -> bool:
        accuracies = [epoch.val_accuracy for epoch in self._state.history]
        return stops_early(self._train.early_stopping, accuracies)

    def _train_epoch(self, bar: Bar | None) -> None:
        state = self._state
        forward = self._prepare_forward()
        self._sampler.epoch, self._sampler.first_step = state.epoch, state.step
        last = shown = time.perf_counter()
        for images, targets in self._batches:
            step_images = self._sampler.step_images(state.step)
            sums = self._step(forward, images, targets, step_images)
            state.tally.loss_and_right += self._world.sum(sums)
            state.tally.images += step_images
            state.step += 1
            now = time.perf_counter()
            state.tally.seconds += now - last
            last = now
            if bar:
                shows = now - shown > _SHOW_EVERY_S
                bar.advance(1, _told_under_way(state) if shows else None)
                shown = now if shows else shown
            for watcher in self._watchers:
                watcher.after_step(state)
        state.tally.means()  # waits for the device, so that the time is all there
        state.tally.seconds += time.perf_counter() - last

    def _prepare_forward(self) -> nn.Module:
        """Give what a step calls, with this epoch's stages thawed."""
        network, epoch = self._state.network, self._state.epoch
        learning = learning_stages(stages(network), self._train.fine_tune, epoch)
        freeze_all_but(network, learning)
        if learning != self._learning:  # both wrappers look at what learns when they are made
            self._learning = learning
            forward: Any = torch.compile(network) if self._train.compile else network
            if self._world.size > 1:
                forward = DistributedDataParallel(forward)
            self._forward = forward
        return self._forward

    def _step(
        self, forward: nn.Module, images: torch.Tensor, targets: torch.Tensor, step_images: int
    ) -> torch.Tensor:
        """Learn from one batch.

        Args:
            forward: The network, wrapped.
            images: uint8 (N, C, H, W), this process's part.
            targets: int64 (N,).
            step_images: Images of this step over all processes.

        Returns:
            Sum of losses and number of right answers, float64 (2,), of this process's part.
        """
        state, train = self._state, self._train
        place = (state.epoch, state.step, self._world.rank)
        torch.manual_seed(seed_of(train.seed, STEP, *place))  # for mixing and dropout
        inputs, targets = self._inputs(images), self._to_device(targets)
        if self._mix:
            inputs, targets = self._mix(inputs, targets)
        pieces = inputs.tensor_split(train.accumulate), targets.tensor_split(train.accumulate)
        sums = []
        for number, (piece, truth) in enumerate(zip(*pieces, strict=True), start=1):
            with self._gradients_stay_here(forward, last=number == train.accumulate):
                sums.append(self._backward(forward, piece, truth, step_images))
        take_step(state.optimizer, state.scaler, train, self._lr_factor())
        if state.average is not None:
            state.average.update_parameters(state.network)
        return torch.stack(sums).sum(dim=0)  # (pieces, 2) → (2,)

    def _backward(
        self, forward: nn.Module, piece: torch.Tensor, truth: torch.Tensor, step_images: int
    ) -> torch.Tensor:
        with self._autocast():
            logits = forward(piece)  # (n, classes)
            loss = self._loss(logits, truth)
        # DistributedDataParallel takes the mean over processes: hence the factor.
        share = self._world.size / step_images
        self._state.scaler.scale(loss * share).backward()
        right = (logits.argmax(dim=1) == (truth if truth.ndim == 1 else truth.argmax(dim=1))).sum()
        return torch.stack([loss.detach().double(), right.double()])

    def _lr_factor(self) -> float:
        state, steps = self._state, len(self._sampler)
        done = (state.epoch - 1) * steps + state.step
        return lr_factor(self._train, steps, done, [epoch.val_loss for epoch in state.history])

    def _inputs(self, images: torch.Tensor) -> torch.Tensor:
        layout = torch.channels_last if self._train.channels_last else torch.contiguous_format
        return normalize(self._to_device(images), self._spec).contiguous(memory_format=layout)

    def _to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._world.device, non_blocking=True)

    def _autocast(self) -> AbstractContextManager[Any]:
        amp = self._train.amp
        return torch.autocast(self._world.device.type, _AMP[amp]) if amp else nullcontext()

    @staticmethod
    def _gradients_stay_here(forward: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Exchange gradients between processes with the last piece of a batch only."""
        if last or not isinstance(forward, DistributedDataParallel):
            return nullcontext()
        return forward.no_sync()

    @torch.inference_mode()
    def _validate(self) -> torch.Tensor:
        """Give the logits of all validation images, float32 (images, classes), on the CPU."""
        network = self._state.kept.eval()
        with self._autocast():
            logits = torch.cat([network(self._inputs(images)) for images, _ in self._val_batches])
        return self._world.gather_rows(logits.float(), len(self._val_targets)).cpu()

    def _finish_epoch(self, logits: torch.Tensor, val_s: float) -> Epoch:
        """Put the epoch into the history and begin the next."""
        state = self._state
        loss, accuracy = state.tally.means()
        if not math.isfinite(loss):
            raise TrainError(f"the loss is {loss} in epoch {state.epoch}: lower train.lr")
        right = int((logits.argmax(dim=1) == self._val_targets).sum())
        epoch = Epoch(
            epoch=state.epoch,
            train_loss=loss,
            train_accuracy=accuracy,
            val_loss=float(cross_entropy(logits, self._val_targets)),
            val_accuracy=right / len(self._val_targets),
            lr=state.optimizer.param_groups[-1]["lr"],  # the head's
            images_per_s=state.tally.images / state.tally.seconds,
            seconds=state.tally.seconds + val_s,
        )
        state.history.append(epoch)
        state.epoch, state.step, state.tally = state.epoch + 1, 0, Tally.empty(self._world.device)
        return epoch


def _told_under_way(state: TrainState) -> str:
    """Say how an epoch goes so far; waits for the device."""
    loss, accuracy = state.tally.means()
    return (
        f"epoch {state.epoch}  loss {loss:.3f}  accuracy {accuracy:.1%}  "
        f"{state.tally.images / state.tally.seconds:,.0f} images/s"
    )


def _told(epoch: Epoch) -> str:
    return (
        f"epoch {epoch.epoch}  loss {epoch.train_loss:.3f}  "
        f"val accuracy {epoch.val_accuracy:.2%}  {epoch.images_per_s:,.0f} images/s"
    )
