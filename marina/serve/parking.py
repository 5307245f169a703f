"""Taking workers away between their batches, which TorchServe does in the middle of one.

The other side, and why this is needed: `handlers.parking`.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from marina.errors import OperationRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

_POLL_S = 0.01


@contextmanager
def parked(
    lot: Path, workers: set[int], ask: Callable[[], bool], timeout_s: float
) -> Iterator[bool]:
    """Hold workers, none of which has a client's request, until the block ends.

    TorchServe gives each request to whichever worker is free, so others may be held with them.

    Args:
        lot: See `handlers.parking.lot_of`.
        workers: Their process ids.
        ask: Sends a DESCRIBE and waits for its answer; False if the queue was full.
        timeout_s: How long the workers may take to end what they hold.

    Yields:
        Whether they are held; False if their handler knows nothing of parking.

    Raises:
        OperationRefused: They are busy for longer.
    """
    lot.mkdir(parents=True)
    with ThreadPoolExecutor(max_workers=64) as pool:
        try:
            yield _fill(lot, workers, lambda: pool.submit(ask), timeout_s)
        finally:
            gone = lot.with_name(f"{lot.name} {time.monotonic_ns()}")
            lot.rename(gone)  # in one step, whatever worker comes in
            shutil.rmtree(gone, ignore_errors=True)


def _fill(lot: Path, workers: set[int], ask: Callable[[], Future[bool]], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    asked = ask()
    count = 1
    while not workers <= (held := {int(file.name) for file in lot.iterdir()}):
        if asked.done():
            if asked.result():
                return False
            asked = ask()
        elif len(held) == count:
            asked = ask()
            count += 1
        if time.monotonic() > deadline:
            raise OperationRefused(
                f"{len(workers - held)} of the workers to be taken away have not ended their "
                f"batch after {timeout_s:g} s; all is as before. Try again when they are less busy"
            )
        time.sleep(_POLL_S)
    return True
