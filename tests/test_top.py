"""`marina top` on metrics that are made up."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

import marina.cli  # noqa: F401 - it hangs the verbs on app
from marina.cli.app import app
from marina.errors import ConnectionFailed
from marina.top import Reading, compare, read

OWN = {"model_name": "m", "model_version": "1"}
BOUNDS = ("0.1", "0.2", "+Inf")


def reading(at: float, ok: int, buckets: tuple[int, int, int], **extra: float) -> Reading:
    rest = {**OWN, "transport": "rest"}
    return Reading(
        at,
        [
            ("marina_ready", {}, 1),
            ("marina_gateway_up", {}, 1),
            ("marina_model_info", {**OWN, "is_default": "true"}, 1),
            ("marina_answers_total", {**rest, "kind": "ok"}, ok),
            ("marina_answers_total", {**rest, "kind": "timeout"}, ok / 10),
            ("marina_answers_total", {**OWN, "transport": "shadow", "kind": "ok"}, 1000 * ok),
            *(
                ("marina_request_seconds_bucket", {**rest, "le": bound}, count)
                for bound, count in zip(BOUNDS, buckets, strict=True)
            ),
            *((name, OWN, value) for name, value in extra.items()),
        ],
    )


def test_rates_and_quantiles_are_of_the_time_between() -> None:
    sample = compare(reading(10, 100, (50, 60, 60)), reading(12, 120, (60, 80, 80)))
    assert sample.seconds == 2
    assert sample.requests_per_s == pytest.approx(11)
    assert sample.errors_per_s == {"timeout": pytest.approx(1)}
    (version,) = sample.versions
    assert version.p50_ms == pytest.approx(100)  # 10 of 20 came within 0.1 s
    assert version.p99_ms == pytest.approx(198)
    assert version.batch_size is None


def test_what_is_slower_than_the_last_bound_is_that_bound() -> None:
    sample = compare(reading(0, 0, (0, 0, 0)), reading(1, 10, (0, 0, 10)))
    assert sample.versions[0].p50_ms == pytest.approx(200)


def test_nothing_asked_has_no_latency() -> None:
    sample = compare(reading(0, 5, (5, 5, 5)), reading(1, 5, (5, 5, 5)))
    assert sample.requests_per_s == 0
    assert sample.versions[0].p50_ms is None


def test_a_server_that_was_started_anew_counts_from_nothing() -> None:
    sample = compare(reading(0, 1000, (900, 1000, 1000)), reading(1, 10, (10, 10, 10)))
    assert sample.requests_per_s == pytest.approx(11)
    assert sample.versions[0].p50_ms == pytest.approx(50)


def test_without_a_gateway_the_workers_tell() -> None:
    def at(time: float, count: int) -> Reading:
        return Reading(
            time,
            [
                ("marina_ready", {}, 1),
                ("marina_model_info", {**OWN, "is_default": "true"}, 1),
                ("marina_requests_total", OWN, count),
                ("marina_request_errors_total", {**OWN, "status": "400"}, count / 4),
                ("marina_backend_seconds_bucket", {**OWN, "le": "0.1"}, count),
                ("marina_backend_seconds_bucket", {**OWN, "le": "+Inf"}, count),
            ],
        )

    sample = compare(at(0, 0), at(2, 8))
    assert (sample.clock, sample.requests_per_s) == ("worker", 4)
    assert sample.errors_per_s == {"400": 1}
    assert sample.versions[0].p50_ms == pytest.approx(50)


@pytest.fixture
def stranger() -> Iterator[str]:
    """Somebody else's metrics."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"up 1\n" if self.path == "/metrics" else b"<html>")

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_is_no_marina_is_said(stranger: str) -> None:
    with pytest.raises(ConnectionFailed, match=r"metrics, but none of `marina serve`: check the"):
        read(f"{stranger}/metrics")
    with pytest.raises(ConnectionFailed, match="no server shows metrics at"):
        read(f"{stranger}/page")


def test_where_no_server_answers_the_verb_says_what_to_do() -> None:
    done = CliRunner().invoke(app, ["top", "--metrics-url", "http://127.0.0.1:9/metrics"])
    assert isinstance(done.exception, ConnectionFailed)
    assert "start one with `marina serve`" in str(done.exception)
