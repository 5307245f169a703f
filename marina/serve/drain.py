"""Waiting for requests in flight, before a stop that would cut them.

TorchServe resets the connections of unanswered REST requests as soon as it gets SIGTERM. Requests
in flight are those in the queues, which the management API counts, and those that workers hold:
each worker's log says when it takes a batch, and, once the answers are on their way, when it is
done. Counting arrivals and answers in the metrics instead would take a refused request, or one
whose worker died, for one in flight, and could not tell a slow request from a lost one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from marina.serve.management import Management

_POLL_S = 0.1

# After this long without a request in sight there is none: longer than the log's way to us, than
# a request's way from the socket to the queue, and than the last answer's way out.
QUIET_S = 0.5


class Doing(Protocol):
    """What workers do: all of them, or those of one version."""

    @property
    def busy(self) -> int:
        """Number of workers that hold a batch."""

    @property
    def batches(self) -> int:
        """Number of batches taken so far."""


def drain(
    names: Iterable[str],
    management: Management,
    activity: Doing,
    timeout_s: float,
    is_aborted: Callable[[], bool],
    *,
    version: str | None = None,
    quiet_s: float = QUIET_S,
) -> bool:
    """Wait until no request is in flight.

    Args:
        names: Of the models.
        management: Tells how many requests wait.
        activity: Tells how many batches their workers hold.
        timeout_s: Longest wait.
        is_aborted: Asked meanwhile; true gives up.
        version: The only version that matters; None means all.
        quiet_s: How long no request may be in sight.

    Returns:
        Whether all were answered.
    """
    names = set(names)
    quiet_since, quiet_batches = time.monotonic(), activity.batches
    deadline = quiet_since + timeout_s
    while not is_aborted() and (now := time.monotonic()) < deadline:
        told = [management.conditions(name) for name in names]
        conditions = [each for model in told for each in model if version in (None, each.version)]
        pending = sum(each.pending for each in conditions)
        is_unknown = not all(told) or (version is not None and not conditions)
        if pending or is_unknown or activity.busy or activity.batches != quiet_batches:
            quiet_since, quiet_batches = now, activity.batches
        # A request that waits for its batch to fill is in no queue, and with no worker yet.
        delay_s = max((each.max_batch_delay_s for each in conditions), default=0.0)
        if now - quiet_since > quiet_s + delay_s:
            return True
        time.sleep(_POLL_S)
    return False
