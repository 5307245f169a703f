"""Clients that misbehave in numbers: slow ones, and those that do not wait for answers."""

from __future__ import annotations

import time

from tests.crowds import SlowClients, check_timed_out, pipelined

from .conftest import LIMITS, Door


def test_a_thousand_slow_clients(door: Door) -> None:
    """Half send no end of their headers, half no end of their body; the others are answered."""
    with SlowClients(door.config.rest_port, "m") as slow:
        started = time.monotonic()
        for _ in range(50):
            assert door.rest().status_code == 200
            assert door.grpc() == "1.0"
        assert time.monotonic() - started < 20
        assert {seen.body for seen in door.upstream.seen} == {b"x"}
        assert len(door.upstream.seen) == 100  # none of theirs
        check_timed_out([*slow.without_headers, *slow.without_body])
    assert LIMITS.header_timeout_s + LIMITS.request_timeout_s < 10


def test_pipelined_requests_are_answered_in_their_order(door: Door) -> None:
    """The first takes longest; TorchServe alone would answer it last."""
    wanted = ["1.1", "1.2", "1.3", "1.4"]
    bodies = [f"sleep {0.4 - number / 10:.1f}" for number in range(len(wanted))]
    requests = list(zip(wanted, bodies, strict=True))
    assert pipelined(door.config.rest_port, "m", requests) == wanted
