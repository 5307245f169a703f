"""Knowing which requests are in flight."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from marina.serve.activity import Activity
from marina.serve.drain import drain
from marina.serve.log import Line
from marina.serve.management import Condition

if TYPE_CHECKING:
    from marina.serve.management import Management

TAKES = "Flushing req.cmd PREDICT repeats 1 to backend at: 1795229151742"
LOADS = "Flushing req.cmd LOAD repeats 1 to backend at: 1795229151742"
ENDS = "Backend response time: 26"
DIES = "W-9001-a_1.0 State change WORKER_MODEL_LOADED -> WORKER_STOPPED"


def said(worker: str, text: str) -> Line:
    return Line(worker, "WorkerThread", text, text)


class Queues:
    """Stands for the management API: queues that are as long as they are told; None is deaf."""

    def __init__(self, *pending: int | None, delay_s: float = 0.0):
        self.pending = list(pending)
        self.delay_s = delay_s

    def conditions(self, _: str) -> list[Condition]:
        pending = self.pending.pop(0) if len(self.pending) > 1 else self.pending[0]
        if pending is None:
            return []
        return [Condition("1.0", 1, 1, pending, self.delay_s, {})]


def timed(queues: Queues, activity: Activity, timeout_s: float = 5.0) -> tuple[bool, float]:
    management: Management = queues  # type: ignore[assignment]
    started = time.monotonic()
    done = drain(["a"], management, activity, timeout_s, is_aborted=lambda: False)
    return done, time.monotonic() - started


def test_a_worker_is_busy_from_taking_a_batch_to_its_end() -> None:
    activity = Activity()
    activity(said("W-9000-a_1.0", LOADS))
    assert activity.busy == 0
    activity(said("W-9000-a_1.0", TAKES))
    activity(said("W-9001-a_1.0", TAKES))
    assert (activity.busy, activity.batches) == (2, 2)
    activity(said("W-9000-a_1.0", ENDS))
    assert activity.busy == 1
    activity(said("W-9001-a_1.0", DIES))
    assert activity.busy == 0


def test_what_a_model_says_is_no_activity() -> None:
    activity = Activity()
    activity(Line("W-9000-a_1.0-stdout", "MODEL_LOG", TAKES, TAKES))
    assert (activity.busy, activity.batches) == (0, 0)


def test_nothing_in_flight_is_soon_known() -> None:
    done, took_s = timed(Queues(0), Activity())
    assert done
    assert took_s < 1


def test_a_queue_is_waited_for() -> None:
    done, took_s = timed(Queues(*[3] * 10, 0), Activity())
    assert done
    assert took_s > 1.4


def test_a_queue_that_cannot_be_seen_is_not_taken_for_an_empty_one() -> None:
    done, took_s = timed(Queues(None), Activity(), timeout_s=1.5)
    assert not done
    assert took_s > 1.4


def test_a_batch_that_fills_is_waited_for() -> None:
    done, took_s = timed(Queues(0, delay_s=1.0), Activity())
    assert done
    assert took_s > 1.4


def test_a_busy_worker_is_waited_for_until_the_time_is_up() -> None:
    activity = Activity()
    activity(said("W-9000-a_1.0", TAKES))
    done, took_s = timed(Queues(0), activity, timeout_s=1.0)
    assert not done
    assert 0.9 < took_s < 2
