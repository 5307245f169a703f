"""Waiting for requests in flight, before a stop that would cut them.

TorchServe resets the connections of unanswered REST requests as soon as it gets SIGTERM. Requests
in flight are those in the queues, which the management API counts, and those that workers hold:
each worker's log says when it takes a batch, and, once the answers are on their way, when it is
done. Counting arrivals and answers in the metrics instead would take a refused request, or one
whose worker died, for one in flight, and could not tell a slow request from a lost one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from marina.serve.log import Line
    from marina.serve.management import Management

_POLL_S = 0.1

# After this long without a request in sight there is none: longer than the log's way to us, than
# a request's way from the socket to the queue, and than the last answer's way out.
_QUIET_S = 0.5


class Activity:
    """Listens to the log, and knows which workers hold a batch."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._batches = 0

    def __call__(self, line: Line) -> None:
        """Take a line of the log."""
        if line.source != "WorkerThread" or line.worker is None:
            return
        if line.text.startswith("Flushing req.cmd PREDICT"):
            self._busy.add(line.worker)
            self._batches += 1
        elif line.text.startswith("Backend response time") or "State change" in line.text:
            self._busy.discard(line.worker)

    @property
    def busy(self) -> int:
        """Number of workers that hold a batch."""
        return len(self._busy)

    @property
    def batches(self) -> int:
        """Number of batches taken so far."""
        return self._batches


def drain(
    names: Iterable[str],
    management: Management,
    activity: Activity,
    timeout_s: float,
    is_aborted: Callable[[], bool],
) -> bool:
    """Wait until no request is in flight.

    Args:
        names: Of the models.
        management: Tells how many requests wait.
        activity: Tells how many batches workers hold.
        timeout_s: Longest wait.
        is_aborted: Asked meanwhile; true gives up.

    Returns:
        Whether all were answered.
    """
    names = set(names)
    quiet_since, quiet_batches = time.monotonic(), activity.batches
    deadline = quiet_since + timeout_s
    while not is_aborted() and (now := time.monotonic()) < deadline:
        conditions = [each for name in names for each in management.conditions(name)]
        pending = sum(each.pending for each in conditions)
        if pending or activity.busy or activity.batches != quiet_batches:
            quiet_since, quiet_batches = now, activity.batches
        # A request that waits for its batch to fill is in no queue, and with no worker yet.
        delay_s = max((each.max_batch_delay_s for each in conditions), default=0.0)
        if now - quiet_since > _QUIET_S + delay_s:
            return True
        time.sleep(_POLL_S)
    return False
