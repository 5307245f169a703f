"""Taking workers away between their batches, which TorchServe does in the middle of one.

The other side, and why this is needed: `handlers.parking`.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from handlers.parking import lot_of
from marina.errors import OperationRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from marina.serve.management import Management
    from marina.serve.served import Served

_POLL_S = 0.01


def scale_between_batches(
    management: Management, folder: Path, served: Served, workers: int, timeout_s: float
) -> bool:
    """Set the number of a version's workers, while those that go hold no client's request.

    Args:
        management: Of the TorchServe.
        folder: What `handlers.parking.VARIABLE` names.
        served: The version.
        workers: The number.
        timeout_s: How long those that go may take to end what they hold.

    Returns:
        Whether no request was cut; perhaps one was if the handler knows nothing of parking.

    Raises:
        ServeError: TorchServe does not do it, or a worker does not end what it holds.
    """
    name, version = served.name, served.version
    excess = management.ready_workers(name, version, after=workers)
    if not excess:
        management.scale(name, version, workers)
        return True
    ask = partial(management.describe_by_worker, name, version, 2 * timeout_s)
    with _parked(lot_of(folder, name, version), excess, ask, timeout_s) as are_held:
        management.scale(name, version, workers)
    return are_held


@contextmanager
def _parked(
    lot: Path, workers: set[int], ask: Callable[[], bool], timeout_s: float
) -> Iterator[bool]:
    """Hold workers, and maybe others: TorchServe gives a request to whichever worker is free.

    Args:
        lot: See `handlers.parking.lot_of`.
        workers: Their process ids.
        ask: Sends a DESCRIBE and waits for its answer; False if the queue was full.
        timeout_s: How long they may take to end what they hold.

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
