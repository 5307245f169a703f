"""Several processes that train one network: torchrun's, or this one alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from marina.errors import TrainError
from marina.progress import console

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        device: This process's own.
        rank: Which of them this is; rank 0 writes files and speaks.
        size: How many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def share(self, make: Callable[[], T]) -> T:
        """Give all processes what rank 0 makes."""
        if self.size == 1:
            return make()
        values: list[Any] = [make() if self.leads else None]
        dist.broadcast_object_list(values, device=self.device)
        made: T = values[0]
        return made

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Give the sum over all processes."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def gather_rows(self, rows: torch.Tensor, total: int) -> torch.Tensor:
        """Give all processes the rows (total, …), of which each has every size-th.

        Args:
            rows: This process's, (total / size rounded either way, …).
            total: Rows in all.
        """
        if self.size == 1:
            return rows
        longest = -(-total // self.size)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]  # (longest, size, …) → (total, …)


@contextmanager
def joined(wanted: str) -> Iterator[World]:
    """Join torchrun's other processes, if it started this one.

    Args:
        wanted: ``auto``, ``cpu`` or ``cuda``. Processes on CPUs talk over gloo, on GPUs over NCCL,
            each with a GPU of its own.

    Raises:
        TrainError: CUDA is asked for and there is none.
    """
    device = choose_device(wanted)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device)
        return
    rank = int(os.environ["RANK"])
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    was_quiet, console.quiet = console.quiet, rank > 0
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", store=_store(), rank=rank, world_size=size
    )
    try:
        yield World(device, rank, size)
    finally:
        dist.destroy_process_group()
        console.quiet = was_quiet


def _store() -> Store:
    """Give torchrun's store, under keys of this start's own.

    After a restart torch 2.15's torchrun hands out the very store of the processes that died, and
    gloo would look for them at their old addresses.
    """
    store, _, _ = next(rendezvous("env://"))
    return PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def choose_device(wanted: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises:
        TrainError: CUDA is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainError("cuda is asked for, but torch sees no GPU. `marina doctor` says why")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def share_batch_statistics(network: nn.Module, device: torch.device) -> nn.Module:
    """Let every batch normalization take its statistics over all processes' images."""
    if device.type == "cuda":
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return synced
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, SharedBatchNorm2d.of(module))
    return network


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization over all processes' images, for devices other than GPUs.

    torch's own SyncBatchNorm refuses CPU tensors. Names and meanings of parameters and buffers are
    those of BatchNorm2d, and so is what it does in evaluation mode.
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> SharedBatchNorm2d:
        """Take over another's parameters and buffers."""
        shared = cls(norm.num_features, norm.eps, norm.momentum, norm.affine)
        shared._parameters, shared._buffers = norm._parameters, norm._buffers  # noqa: SLF001
        return shared.train(norm.training)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalize activations (N, C, H, W)."""
        if not self.training:
            return super().forward(images)
        count = _summed(images.new_tensor(images.numel() / images.shape[1]))
        mean = _summed(images.sum((0, 2, 3))) / count  # (C,)
        centred = images - _per_channel(mean)
        variance = _summed(centred.square().sum((0, 2, 3))) / count  # (C,)
        self._follow(mean.detach(), variance.detach(), count)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * _per_channel(scale) + _per_channel(self.bias)

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        """Move the running statistics towards the batch's, as BatchNorm2d does."""
        momentum = float(self.momentum or 0)
        self.get_buffer("num_batches_tracked").add_(1)
        self.get_buffer("running_mean").lerp_(mean, momentum)
        self.get_buffer("running_var").lerp_(variance * count / (count - 1), momentum)


class _Summed(torch.autograd.Function):
    """The sum over all processes; each one's loss depends on it, so its gradients add up, too."""

    @staticmethod
    def forward(_: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _summed(tensor: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Summed.apply(tensor)
    return total


def _per_channel(values: torch.Tensor) -> torch.Tensor:
    return values.view(1, -1, 1, 1)  # (C,) → (1, C, 1, 1)
