"""Work that leaves the cores to those who serve."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Beside a busy thread, one with 10 more than its "nice" gets a tenth of the core, and beside an
# idle one all of it (sched(7)). With the most, 19, it would get a seventieth: on a machine that has
# nothing to spare, a model would take longer to load than TorchServe waits (startupTimeout).
NICE = 10
PATIENCE_S = 30.0


class Background:
    """Does work in threads of low priority, as long as it does not take too long.

    Linux has a priority for each thread (setpriority(2)); elsewhere it is work as any other. To
    lower it takes no privilege, but to raise it again does: threads that the work starts keep the
    low one, and shall not serve.

    Args:
        patience_s: After so many seconds, what is left is done at the caller's priority: whoever
            waits for the work is served late, but is served.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._until = time.monotonic() + patience_s

    def run(self, work: Callable[[], T]) -> T:
        """Do a piece of the work, and wait for it.

        Returns:
            Its result, or raises its exception.
        """
        if sys.platform != "linux" or time.monotonic() >= self._until:
            return work()
        with ThreadPoolExecutor(1, "background", initializer=step_back) as pool:
            return pool.submit(work).result()


def step_back() -> None:
    """Lower the priority of the thread at hand."""
    _lower(threading.get_native_id())


def send_back(process: int) -> None:
    """Lower the priority of a process that serves no more: to free its memory takes a core, too.

    Args:
        process: Its id; that of none any more does no harm.
    """
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            _lower(int(thread.name))


def _lower(thread: int) -> None:
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)
