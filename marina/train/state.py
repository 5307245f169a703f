"""All that changes while a network trains, and how it becomes a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from marina.errors import TrainError
from marina.files import whole_file
from marina.train.average import weight_average
from marina.train.optimizer import optimizer_for

if TYPE_CHECKING:
    from torch.optim.swa_utils import AveragedModel

    from marina.recipe import Train


@dataclass(frozen=True)
class Epoch:
    """What one pass gave.

    Attributes:
        epoch: Counted from 1.
        train_loss: Mean over the training images, augmented, mixed and smoothed as the recipe says.
        train_accuracy: Share of them whose top-1 was right at the time; mixed ones count for the
            class that they are most of.
        val_loss: Mean cross-entropy over the validation images.
        val_accuracy: Share of the validation images whose top-1 is right.
        lr: Learning rate of the last step.
        images_per_s: Training throughput over all processes, validation left out.
        seconds: Wall time of the pass, validation included.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    images_per_s: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as they stand in metrics.json."""
        return asdict(self)


@dataclass
class Tally:
    """Sums over the epoch under way, over all processes.

    Attributes:
        loss_and_right: The loss, and how often the top-1 was right, float64 (2,), on the device.
        images: Shown so far.
        seconds: Spent so far.
    """

    loss_and_right: torch.Tensor
    images: int = 0
    seconds: float = 0.0

    @classmethod
    def empty(cls, device: torch.device) -> Tally:
        """Start an epoch."""
        return cls(torch.zeros(2, dtype=torch.float64, device=device))

    def means(self) -> tuple[float, float]:
        """Give mean loss and accuracy; waits for the device."""
        loss, right = self.loss_and_right.tolist()
        return loss / self.images, right / self.images


@dataclass
class TrainState:
    """A training under way.

    There are no random states and no schedule in it: both are functions of the recipe and of
    ``epoch``, ``step`` and ``history`` (see `marina.train.seeds`, `marina.train.schedule`).

    Attributes:
        network: With its latest weights.
        optimizer: With its momenta.
        scaler: Of the loss, for fp16; passes everything through otherwise.
        average: Of the weights, if the recipe wants one.
        tally: Sums over the epoch under way.
        epoch: The one under way, from 1.
        step: Steps done of it.
        history: The finished epochs.
        seconds: Spent before this process began.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    tally: Tally
    epoch: int = 1
    step: int = 0
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def first(cls, network: nn.Module, train: Train) -> TrainState:
        """Begin with a network that is on its device."""
        device = next(network.parameters()).device
        return cls(
            network=network,
            optimizer=optimizer_for(network, train),
            scaler=torch.amp.GradScaler(device.type, enabled=train.amp == "fp16"),
            average=weight_average(network, train.ema_decay) if train.ema_decay else None,
            tally=Tally.empty(device),
        )

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def best(self) -> Epoch | None:
        """The finished epoch of the highest validation accuracy, the later one of equals."""
        return max(reversed(self.history), key=lambda epoch: epoch.val_accuracy, default=None)

    def save(self, path: Path, seconds: float) -> None:
        """Write everything, whole.

        Args:
            path: Where to.
            seconds: Spent so far by all processes that had this training.
        """
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "tally": vars(self.tally),
            "epoch": self.epoch,
            "step": self.step,
            "history": [epoch.as_dict() for epoch in self.history],
            "seconds": seconds,
        }
        with whole_file(path) as file:
            torch.save(content, file)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            TrainError: The file is damaged, or not of this recipe.
        """
        device = self.tally.loss_and_right.device
        try:
            content = torch.load(path, map_location=device, weights_only=True)
            self.network.load_state_dict(content["network"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.scaler.load_state_dict(content["scaler"])
            if self.average is not None:
                self.average.load_state_dict(content["average"])
            self.tally = Tally(**content["tally"])
            self.history = [Epoch(**epoch) for epoch in content["history"]]
        except Exception as err:  # torch.load raises what its unpickler and zip reader raise
            raise TrainError(f"cannot go on from {path}: {err}") from err
        self.epoch, self.step = content["epoch"], content["step"]
        self.seconds = content["seconds"]
