"""Clients that misbehave in numbers: slow ones, and those that do not wait for answers."""

from __future__ import annotations

import contextlib
import socket
import time

from .conftest import LIMITS, Door

HEAD = b"POST /predictions/m HTTP/1.1\r\nHost: x\r\n"


def test_a_thousand_slow_clients(door: Door) -> None:
    """Half send no end of their headers, half no end of their body; the others are answered."""
    slow: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            client = socket.create_connection(("127.0.0.1", door.config.rest_port), timeout=60)
            slow.append(stack.enter_context(client))
            client.sendall(HEAD if number % 2 else HEAD + b"Content-Length: 1000\r\n\r\nx")
        started = time.monotonic()
        for _ in range(50):
            assert door.rest().status_code == 200
            assert door.grpc() == "1.0"
        assert time.monotonic() - started < 20
        assert {seen.body for seen in door.upstream.seen} == {b"x"}
        assert len(door.upstream.seen) == 100  # none of theirs
        for client in slow:
            answer = client.recv(4096)
            assert b" 408 Request Timeout\r\n" in answer
            assert b"RequestTimeoutException" in answer
    assert LIMITS.header_timeout_s + LIMITS.request_timeout_s < 10


def test_pipelined_requests_are_answered_in_their_order(door: Door) -> None:
    """The first takes longest; TorchServe alone would answer it last."""
    wanted = ["1.1", "1.2", "1.3", "1.4"]
    with socket.create_connection(("127.0.0.1", door.config.rest_port), timeout=30) as client:
        for number, version in enumerate(wanted):
            body = f"sleep {0.4 - number / 10:.1f}"
            head = f"POST /predictions/m/{version} HTTP/1.1\r\nHost: x\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answers = b""
        while answers.count(b"x-marina-version") < len(wanted) or not answers.endswith(b"}"):
            answers += client.recv(65536)
    versions = [line.split(b": ")[1] for line in answers.splitlines() if b"-version: " in line]
    assert [version.decode() for version in versions] == wanted
