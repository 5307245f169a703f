"""The training loop: plain torch, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR
from torch.utils.data import DataLoader

from handlers.preprocess import normalize
from marina.errors import TrainError
from marina.progress import progress_bar

if TYPE_CHECKING:
    from handlers.image_spec import ImageSpec
    from marina.recipe import Recipe, Train
    from marina.train.dataset import ImageDataset


@dataclass(frozen=True)
class Epoch:
    """What one pass gave.

    Attributes:
        epoch: Counted from 1.
        train_loss: Mean over the training images, augmented and smoothed as the recipe says.
        val_accuracy: Share of the validation images whose top-1 is right.
        lr: Learning rate after the last step.
        images_per_s: Training throughput, validation left out.
        seconds: Wall time of the pass, validation included.
    """

    epoch: int
    train_loss: float
    val_accuracy: float
    lr: float
    images_per_s: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as they stand in metrics.json."""
        return asdict(self)


def choose_device(wanted: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises:
        TrainError: CUDA is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainError("train.device is cuda, but torch sees no GPU. `marina doctor` says why")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def loader(dataset: ImageDataset, train: Train, *, shuffle: bool) -> DataLoader[Any]:
    """Give batches of ``(pixels uint8 (N, C, H, W), targets int64 (N,))``."""
    generator = torch.Generator().manual_seed(train.seed)
    return DataLoader(
        dataset,
        batch_size=train.batch_size,
        shuffle=shuffle,
        num_workers=train.workers,
        persistent_workers=train.workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=generator,
    )


def optimizer_for(network: nn.Module, train: Train) -> torch.optim.Optimizer:
    """Give the optimizer, with weight decay on matrices and kernels only."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": train.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if train.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=train.lr)
    return torch.optim.SGD(
        groups, lr=train.lr, momentum=train.momentum, nesterov=train.momentum > 0
    )


def schedule_for(optimizer: torch.optim.Optimizer, train: Train, steps: int) -> LRScheduler:
    """Give linear warm-up, then a cosine to zero (Loshchilov & Hutter 2017), step by step.

    Args:
        optimizer: Whose learning rate to set.
        train: The recipe's section.
        steps: Steps in an epoch.
    """
    warmup = round(train.warmup_epochs * steps)
    cosine = CosineAnnealingLR(optimizer, max(1, train.epochs * steps - warmup))
    if not warmup:
        return cosine
    linear = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [linear, cosine], milestones=[warmup])


def fit(
    network: nn.Module,
    train_set: ImageDataset,
    val_set: ImageDataset,
    recipe: Recipe,
    on_epoch: Callable[[Epoch], None],
) -> None:
    """Train in place; ``on_epoch`` is called after each pass, while the network is as it left it.

    Raises:
        TrainError: The loss is no longer a finite number.
    """
    train = recipe.train
    device = next(network.parameters()).device
    batches = loader(train_set, train, shuffle=True)
    val_batches = loader(val_set, train, shuffle=False)
    optimizer = optimizer_for(network, train)
    schedule = schedule_for(optimizer, train, len(batches))
    loss_function = nn.CrossEntropyLoss(label_smoothing=train.label_smoothing)

    with progress_bar("train", train.epochs * len(batches)) as bar:
        for number in range(1, train.epochs + 1):
            start = time.perf_counter()
            network.train()
            total_loss = torch.zeros((), device=device)
            for images, targets in batches:
                inputs = normalize(images.to(device, non_blocking=True), recipe.image)
                loss = loss_function(network(inputs), targets.to(device, non_blocking=True))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total_loss += loss.detach() * len(images)
                bar.advance()
            mean_loss = float(total_loss) / len(train_set)
            if not torch.isfinite(total_loss):
                raise TrainError(f"the loss is {mean_loss} in epoch {number}: lower train.lr")
            train_s = time.perf_counter() - start
            accuracy = validate(network, val_batches, recipe.image)
            bar.advance(0, f"epoch {number}  loss {mean_loss:.3f}  val accuracy {accuracy:.2%}")
            on_epoch(
                Epoch(
                    epoch=number,
                    train_loss=mean_loss,
                    val_accuracy=accuracy,
                    lr=float(schedule.get_last_lr()[0]),
                    images_per_s=len(train_set) / train_s,
                    seconds=time.perf_counter() - start,
                )
            )


@torch.inference_mode()
def validate(network: nn.Module, batches: DataLoader[Any], spec: ImageSpec) -> float:
    """Give the share of images whose largest logit is the true class."""
    network.eval()
    device = next(network.parameters()).device
    right = torch.zeros((), dtype=torch.int64, device=device)
    for images, targets in batches:
        logits = network(normalize(images.to(device, non_blocking=True), spec))  # (N, classes)
        right += (logits.argmax(dim=1) == targets.to(device)).sum()
    return int(right) / len(batches.dataset)  # type: ignore[arg-type]
