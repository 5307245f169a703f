"""When a version is asked for the answer to its golden image, and when it is said to hang."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

from marina.serve.activity import Activity
from marina.serve.health import Health, Look, Pulse
from marina.serve.management import Condition


class Version(NamedTuple):
    """Stands for one that is served."""

    name: str
    version: str


def test_an_idle_version_is_asked_each_time() -> None:
    assert Look().is_due(0.0, 0)
    assert Look(asked_s=0.0, batches=7).is_due(2.0, 8)  # the one it took is the golden image


def test_a_busy_version_is_asked_less_often() -> None:
    look = Look(asked_s=0.0, batches=7)
    assert not look.is_due(2.0, 40)
    assert look.is_due(10.0, 40)


def test_a_version_that_takes_no_more_is_asked_at_once() -> None:
    busy = Look(asked_s=0.0, batches=40)
    assert busy.is_due(4.0, 40)


def test_a_version_without_workers_is_not_asked_until_it_has_one() -> None:
    """TorchServe queues the question, and who has just loaded would be taken to be late."""
    served: Any = Version("a", "1.0")
    ready = [0]
    engine: Any = SimpleNamespace(
        activity=Activity(),
        management=SimpleNamespace(
            conditions=lambda _: [Condition("1.0", ready[0], 1, 0, 0.0, {})],
        ),
    )
    fleet: Any = SimpleNamespace(all=lambda: [(served, SimpleNamespace(workers=1))], leaving=set())
    health = Health(engine, fleet, timeout_s=1.0)
    assert health._to_ask() == [served]
    health._pulses[served] = Pulse(1, "late")
    assert health._to_ask() == []
    ready[0] = 1
    assert health._to_ask() == [served]
