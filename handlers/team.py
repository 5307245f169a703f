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
    from collections.abc import Callable

    Model = Callable[[torch.Tensor], torch.Tensor]

_GRAIN = 32_768  # elements, at least so many of which torch gives to a thread (ATen's GRAIN_SIZE)


def on_own_cores(model: Model, threads: int, *, by_this_thread: bool = False) -> Model:
    """Give a model whose threads keep to a core each, where they take all that there are.

    Of fewer, another process might choose the same.

    Args:
        model: Computes in OpenMP's threads.
        threads: How many.
        by_this_thread: Whether this thread will call it. It may then compute other things before.

    Returns:
        The same model where it may not be done; else one that is to be called in one thread, which
        has computed nothing before: not even a batch of some images, which takes threads, too.
    """
    if sys.platform != "linux" or threads == 1 or threads != len(os.sched_getaffinity(0)):
        return model
    team = _Team(model, os.sched_getaffinity(0))
    if by_this_thread:
        team.start()
    return team


class _Team:
    """A model whose threads keep to a core each from the first call on, its caller from the next.

    OpenMP's threads belong to the thread that first asks for them. Where they cannot be held, the
    model is called as it is.
    """

    def __init__(self, model: Model, cores: set[int]) -> None:
        self._model = model
        self._cores = cores
        self._helpers: set[int] = set()  # threads that are held
        self._is_started = False
        self._has_computed = False

    def start(self) -> None:
        """Start the helpers of the calling thread."""
        self._helpers = _start_helpers(sorted(self._cores))
        self._is_started = True

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        if not self._has_computed:
            return self._compute_first(pixels)
        if not self._helpers:
            return self._model(pixels)
        try:
            # As long as it computes: a helper that it waits for would wake it on its own core.
            _hold_to({min(self._cores)})
            return self._model(pixels)
        finally:
            _hold_to(self._cores)

    def _compute_first(self, pixels: torch.Tensor) -> torch.Tensor:
        if not self._is_started:
            self.start()
        self._has_computed = True
        logits = self._model(pixels)
        if not self._helpers <= _held_threads():
            # For what takes fewer threads OpenMP ends some, and would start the next ones on its
            # caller's core.
            self._helpers = set()
        return logits


def _start_helpers(cores: list[int]) -> set[int]:
    """Have OpenMP start a thread on each core but the first.

    Returns:
        The threads; none if they cannot be held.
    """
    others = _held_threads()
    for count, core in enumerate(cores[1:], start=2):
        torch.set_num_threads(count)  # starts threads that are not OpenMP's, too
        _hold_to({core})  # a thread begins where the one is that starts it
        torch.ones(count * _GRAIN)
        _hold_to(set(cores))
    helpers = _held_threads() - others
    return helpers if len(helpers) == len(cores) - 1 else set()


def _hold_to(cores: set[int]) -> None:
    with suppress(OSError):  # it is forbidden here, or the container's cores were changed
        os.sched_setaffinity(0, cores)


def _held_threads() -> set[int]:
    """Give the process's threads that are held to one core."""
    held = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            if len(os.sched_getaffinity(int(task.name))) == 1:
                held.add(int(task.name))
    return held
