"""Where a network's time goes, by torch.profiler."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from marina.files import whole_file
from marina.train.distributed import choose_device

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from marina.train.run import Run

_WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Operation:
    """One kind of operation, over all steps.

    Attributes:
        name: Torch's name for it.
        calls: How often it ran.
        self_ms: Its own time on the device, without the operations that it called.
        total_ms: With them.
        share: Its own time's share of all time.
    """

    name: str
    calls: int
    self_ms: float
    total_ms: float
    share: float

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina profile --json`` prints it."""
        return asdict(self)


def profile_run(
    run: Run, trace: Path, batch_size: int, steps: int, device: str, *, backward: bool
) -> list[Operation]:
    """Profile a run's network on a random batch.

    Raises:
        TrainError: There is no checkpoint, or no such device.
    """
    where = choose_device(device)
    spec = run.recipe.image
    images = torch.randn(batch_size, spec.channels, spec.crop, spec.crop, device=where)
    return profile_network(run.load_network().to(where), images, steps, trace, backward=backward)


def profile_network(
    network: nn.Module, images: torch.Tensor, steps: int, trace: Path, *, backward: bool
) -> list[Operation]:
    """Run some steps under the profiler.

    Args:
        network: On the device of the images.
        images: Shape (N, C, crop, crop), float32.
        steps: How many, after two to warm up.
        trace: Where the trace goes, for https://ui.perfetto.dev or chrome://tracing.
        backward: Whether to train: loss and gradients too.

    Returns:
        The operations, the costliest first.
    """
    network.train(backward)
    for _ in range(_WARM_UP_STEPS):
        _step(network, images, backward=backward)
    cuda = images.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            _step(network, images, backward=backward)
        if cuda:
            torch.cuda.synchronize(images.device)
    with whole_file(trace) as file:
        profiler.export_chrome_trace(str(file))
    return _operations(profiler, cuda=cuda)


def _step(network: nn.Module, images: torch.Tensor, *, backward: bool) -> None:
    if not backward:
        with torch.inference_mode():
            network(images)
        return
    logits = network(images)  # (N, classes)
    cross_entropy(logits, logits.detach().argmin(dim=1)).backward()  # type: ignore[no-untyped-call]
    network.zero_grad(set_to_none=True)


def _operations(profiler: profile, *, cuda: bool) -> list[Operation]:
    events = profiler.key_averages()
    where = "device" if cuda else "cpu"
    own = {event.key: getattr(event, f"self_{where}_time_total") for event in events}
    everything = sum(own.values()) or 1.0
    found = [
        Operation(
            name=event.key,
            calls=event.count,
            self_ms=own[event.key] / 1000,
            total_ms=getattr(event, f"{where}_time_total") / 1000,
            share=own[event.key] / everything,
        )
        for event in events
    ]
    return sorted(found, key=lambda operation: -operation.self_ms)
