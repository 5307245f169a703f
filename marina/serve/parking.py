"""Taking workers away between their batches, which TorchServe does in the middle of one.

The other side, and why this is needed: `handlers.parking`.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
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
    management: Management,
    folder: Path,
    served: Served,
    workers: int,
    timeout_s: float,
    becomes_quiet: Callable[[], bool],
    *,
    force: bool = False,
) -> bool:
    """Set the number of a version's workers, while those that go hold no client's request.

    Args:
        management: Of the TorchServe.
        folder: What `handlers.parking.VARIABLE` names.
        served: The version.
        workers: The number; 0 of a version that has been drained.
        timeout_s: How long those that go may take to end what they hold.
        becomes_quiet: Waits until no request to the version is in sight, for as long at most; tells
            whether that came. It is asked where the handler knows nothing of parking.
        force: After that time, take the workers away with what they hold.

    Returns:
        Whether no request was cut.

    Raises:
        ServeError: TorchServe does not do it, or a worker does not end what it holds.
    """
    name, version = served.name, served.version
    # A drained version holds nothing, and a DESCRIBE would wait for a worker that never comes.
    excess = management.ready_workers(name, version, after=workers) if workers else set()
    ask = partial(management.describe_by_worker, name, version, 2 * timeout_s)
    is_safe = not excess
    with ExitStack() as until_scaled:
        if excess and served.parks:
            lot = lot_of(folder, name, version)
            is_safe = until_scaled.enter_context(_parked(lot, excess, ask, timeout_s))
        elif excess:
            is_safe = becomes_quiet()
        if not (is_safe or force):
            raise OperationRefused(_refusal(served, timeout_s))
        management.scale(name, version, workers)
    return is_safe


def _refusal(served: Served, timeout_s: float) -> str:
    if served.parks:
        why = f"have not ended their batch after {timeout_s:g} s"
    else:
        why = (
            f"are never idle together for {timeout_s:g} s, and its handler, which is not Marina's, "
            "cannot be told to take no more"
        )
    return (
        f"{served}: workers to be taken away {why}; all is as before. Try again when they are less "
        "busy, or with --force, which loses the requests that they hold"
    )


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
        Whether they are held; not if they are busy for longer, or answer without parking.
    """
    lot.mkdir()
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
            return False
        time.sleep(_POLL_S)
    return True
