"""An image that comes alone on all cores, and a pair, while the other workers leave them idle.

A worker per core serves most, but an image that comes alone then takes as long as one core needs,
beside others that have nothing to do. So a worker has its model a second time, compiled for all
cores, and takes that one as long as no other worker of its server computes.
"""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

from handlers.sizes import FEW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Model = Callable[[torch.Tensor], torch.Tensor]

# So many small batches in a row must have found the other workers idle. Between the batches of a
# busy server one does now and then, and would take the cores of the batch that comes next.
PATIENCE = 3


class Spread:
    """A model that computes a small batch in many threads while no other worker computes.

    Workers tell each other by locks on a folder (flock(2)), which end with the process that holds
    them. Who computes holds the lock together with others; who could have had it alone for some
    batches computes on all cores. Nobody waits for it: a batch that comes meanwhile is computed as
    ever, and shares the cores for the rest of that one forward pass.

    Args:
        narrow: The model, compiled for a worker's own threads.
        wide: The same, compiled for more.
        threads: How many ``wide`` takes; torch's number for the process is this afterwards.
        folder: The workers' common one.

    Raises:
        OSError: There is no such folder.
    """

    def __init__(self, narrow: Model, wide: Model, threads: int, folder: Path) -> None:
        self._narrow = narrow
        self._wide = wide
        self._calm = 0  # batches
        self._folder = os.open(folder, os.O_RDONLY)
        # torch keeps the number for each thread from when it is first asked; until then, and for
        # threads to come, it is the process's, which this changes, too.
        self._pool = ThreadPoolExecutor(1, "spread", torch.set_num_threads, (threads,))
        self._pool.submit(torch.get_num_threads).result()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Give the logits (N, classes) of pixels (N, C, crop, crop), uint8."""
        calm = len(pixels) <= FEW and self._lock(fcntl.LOCK_EX)
        self._calm = self._calm + 1 if calm else 0
        self._lock(fcntl.LOCK_SH)  # alone, too: who comes meanwhile shall be seen the next time
        try:
            if self._calm > PATIENCE:
                return self._pool.submit(self._spread, pixels).result()
            return self._narrow(pixels)
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)

    def _lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._folder, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _spread(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():  # a setting of each thread, too
            return self._wide(pixels)
