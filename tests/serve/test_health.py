"""When a version is asked for the answer to its golden image."""

from __future__ import annotations

from marina.serve.health import Look


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
