"""Threads that compute together, each kept to a core of its own.

Linux wakes a thread beside whoever wakes it where it sees no idle core, and on a virtual machine it
sees none in a core that has slept, which the host may have taken away (``available_idle_cpu`` in
the kernel's scheduler). So after a pause of some milliseconds all threads of a forward pass come to
share one core, and wait there for each other at the end of every layer: docs/speed.md has what that
costs.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    Model = Callable[[torch.Tensor], torch.Tensor]

_GRAIN = 32_768  # elements, at least so many of which torch gives to a thread (ATen's GRAIN_SIZE)


def on_own_cores(model: Model, threads: int) -> Model:
    """Give a model whose threads keep to a core each.

    That is done where they take all cores that the process may run on: of fewer, another process
    might choose the same. OpenMP's threads belong to the thread that asks for them, so this is to
    be called in the one that will call the model.

    Args:
        model: Computes in OpenMP's threads.
        threads: How many; torch's number for this thread is this afterwards.

    Returns:
        The same model, or one that first brings the thread that calls it to the core that is left
        to it. It may be moved from there: only its helpers are held.
    """
    if sys.platform != "linux" or threads == 1 or threads != len(os.sched_getaffinity(0)):
        return model
    try:
        _start_helpers(sorted(os.sched_getaffinity(0)))
    except OSError:  # forbidden here
        return model

    def run(pixels: torch.Tensor) -> torch.Tensor:
        with contextlib.suppress(OSError):  # of a container whose cores were changed
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {min(cores)})
            os.sched_setaffinity(0, cores)
        return model(pixels)

    return run


def _start_helpers(cores: list[int]) -> None:
    """Have OpenMP start a thread on each core but the first."""
    for count, core in enumerate(cores[1:], start=2):
        torch.set_num_threads(count)  # starts threads that are not OpenMP's, too
        try:
            os.sched_setaffinity(0, {core})  # a thread begins where the one is that starts it
            torch.ones(count * _GRAIN)
        finally:
            os.sched_setaffinity(0, cores)
