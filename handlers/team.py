"""Threads that compute together, each kept to a core of its own.

Linux wakes a thread beside whoever wakes it where it sees no idle core, and on a virtual machine it
sees none in a core that has slept, which the host may have taken away (``available_idle_cpu`` in
the kernel's scheduler). So after a pause of some milliseconds all threads of a forward pass come to
share one core, and wait there for each other at the end of every layer: docs/speed.md has what that
costs, `scripts/pause_cost.py` measures it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Model = Callable[[torch.Tensor], torch.Tensor]

_GRAIN = 32_768  # elements, at least so many of which torch gives to a thread (ATen's GRAIN_SIZE)


def on_own_cores(model: Model, threads: int, batches: Sequence[torch.Tensor]) -> Model:
    """Give a model whose threads keep to a core each.

    That is done where they take all cores that the process may run on: of fewer, another process
    might choose the same. OpenMP's threads belong to the thread that first asks for them, so this
    is to be called in the one that will call the model, before it computes anything.

    Args:
        model: Computes in OpenMP's threads.
        threads: How many; torch's number for this thread is this afterwards.
        batches: One of each shape that it will be called with.

    Returns:
        The same model, or one that holds the thread that calls it to a core as long as it computes.
    """
    if sys.platform != "linux" or threads == 1 or threads != len(os.sched_getaffinity(0)):
        return model
    cores = os.sched_getaffinity(0)
    try:
        _start_helpers(sorted(cores))
    except OSError:  # forbidden here
        return model
    helpers = _held_threads()

    def run(pixels: torch.Tensor) -> torch.Tensor:
        try:
            os.sched_setaffinity(0, {min(cores)})
        except OSError:  # of a container whose cores were changed; the kernel freed its threads
            return model(pixels)
        try:
            return model(pixels)
        finally:
            with suppress(OSError):
                os.sched_setaffinity(0, cores)

    with torch.inference_mode():
        for batch in batches:
            model(batch)
    # OpenMP may replace threads for a model that takes fewer now and then: on the core of `run`.
    return run if helpers <= _held_threads() else model


def _start_helpers(cores: list[int]) -> None:
    """Have OpenMP start a thread on each core but the first."""
    for count, core in enumerate(cores[1:], start=2):
        torch.set_num_threads(count)  # starts threads that are not OpenMP's, too
        try:
            os.sched_setaffinity(0, {core})  # a thread begins where the one is that starts it
            torch.ones(count * _GRAIN)
        finally:
            os.sched_setaffinity(0, cores)


def _held_threads() -> set[int]:
    """Give the process's threads that are held to one core."""
    held = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            if len(os.sched_getaffinity(int(task.name))) == 1:
                held.add(int(task.name))
    return held
