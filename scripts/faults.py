"""Break everything that can break, and print what came of it: fault, expected, seen, requests.

    python scripts/faults.py [words of pytest's -k]      # or: make faults

Each fault is one or several tests, which check more than the table says; `make test` runs them too.
The requests are those that clients sent through httpx, http.client and gRPC here: each is answered,
or told that its connection ended (cut), or it hangs, which is a failure of the suite, and so is an
answer that a client no longer waited for. What the server asks itself is not counted, nor what
found nobody listening. Tests that write to sockets themselves count their own answers: a dot.
"""

from __future__ import annotations

import http.client
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from rich.console import Console
from rich.table import Table

REPO = Path(__file__).parents[1]

# Fault, what is expected, and the tests that do it.
FAULTS: list[tuple[str, str, list[str]]] = [
    ("the image matrix, REST and gRPC", "as the lab, or 400, 413, 415", ["client/test_parity.py"]),
    ("the image matrix as multipart and base64", "the answer of the raw body",
     ["faults/test_faults.py::test_every_form"]),
    ("bombs, ribbons, damage", "refused in 50 ms and 50 MB",
     ["handlers/test_bombs.py", "handlers/test_decode.py::test_each_fault"]),
    ("any bytes, any JSON", "400, 413, 415", ["handlers/test_fuzz.py"]),
    ("requests against the OpenAPI document", "what it describes, never 5xx",
     ["faults/test_openapi.py"]),
    ("a body of the limit ± 1 byte, chunked, 50 MB", "200 up to it, 413 over it",
     ["faults/test_faults.py::test_a_body"]),
    ("headers too large", "431", ["gateway/test_answers.py::test_headers"]),
    ("forms that are none", "400", ["faults/test_faults.py::test_a_form"]),
    ("100 clients hang up", "the others are answered",
     ["faults/test_faults.py::test_a_hundred"]),
    ("1,000 slow clients", "408; the others are answered",
     ["gateway/test_crowds.py::test_a_thousand"]),
    ("pipelining", "answers in their order", ["gateway/test_crowds.py::test_pipelined"]),
    ("a queue that is full", "429", ["serve/test_gateway.py::test_a_full_queue"]),
    ("a handler slower than its deadline", "it alone fails",
     ["faults/test_faults.py::test_a_handler_that_misses"]),
    ("no answer within the gateway's deadline", "504",
     ["gateway/test_answers.py::test_a_deadline"]),
    ("memory that is not there", "507, the worker lives",
     ["faults/test_faults.py::test_memory"]),
    ("workers killed, one and all", "back; at most what was in flight fails",
     ["serve/test_supervisor.py::test_killed_workers"]),
    ("a worker that hangs", "started anew",
     ["serve/test_supervisor.py::test_a_version_that_hangs"]),
    ("workers that crash until they are given up", "revived",
     ["serve/test_supervisor.py::test_workers_that_torchserve"]),
    ("TorchServe killed", "back with what was served",
     ["serve/test_supervisor.py::test_a_killed_frontend"]),
    ("Envoy killed", "back with its splits", ["serve/test_gateway.py::test_a_part_is_killed"]),
    ("marina serve killed", "back with its state",
     ["serve/test_supervisor.py::test_marina_serve_itself"]),
    ("what breaks too often", "ends with exit code 7",
     ["serve/test_supervisor.py::test_what_breaks_too_often"]),
    ("a handler that fails to load", "refused, cause named", ["serve/test_failed_start.py"]),
    ("SIGTERM with 24 in flight", "all answered, then the end",
     ["serve/test_signals.py::test_sigterm"]),
    ("SIGTERM to the image's entry point, 20 in flight", "all answered, then the end",
     ["ship/test_image.py::test_the_entry_point"]),
    ("corrupt, forged and hostile archives", "refused, nothing left",
     ["serve/test_refused_archives.py", "archive/test_check.py"]),
    ("a full disk", "the old state holds", ["serve/test_state.py::test_a_full_disk",
                                            "serve/test_state.py::test_a_disk_that"]),
    ("a torn state", "refused", ["serve/test_state.py::test_a_torn"]),
    ("SSRF, file://, absolute paths", "404 or 409, nothing is read",
     ["faults/test_faults.py::test_a_registration"]),
    ("POST /workflows, traversal", "404", ["faults/test_faults.py::test_no_door",
                                          "gateway/test_routes.py::test_a_blocked_route"]),
    ("a port scan", "the gateway's two ports", ["faults/test_faults.py::test_a_port_scan"]),
    ("no token, a wrong one, an old one", "refused; rotation loses nothing",
     ["client/test_tokens.py"]),
    ("no client certificate, old TLS", "refused", ["gateway/test_tls.py"]),
]  # fmt: skip


@dataclass
class Seen:
    """What came of a fault's tests and of their requests, each test's in a counter of its own."""

    outcomes: Counter[str] = field(default_factory=Counter)
    requests: list[Counter[str]] = field(default_factory=list)

    def count(self, what: str) -> int:
        """Give how many requests were ``sent``, ``answered`` or ``cut``."""
        return sum(requests[what] for requests in self.requests)

    @property
    def hangs(self) -> int:
        """Requests that were sent and have not ended."""
        return self.count("sent") - self.count("answered") - self.count("cut")

    @property
    def is_survived(self) -> bool:
        """Whether every test passed, and every request that was sent has ended."""
        bad = self.outcomes["failed"] or not self.outcomes["passed"]
        return not bad and self.hangs == 0


class Suite:
    """A plugin of pytest's that books outcomes and requests by fault."""

    def __init__(self) -> None:
        self.seen = {name: Seen() for name, *_ in FAULTS}
        self._now: Counter[str] = Counter()
        self._lock = threading.Lock()

    def sent(self) -> Callable[..., None]:
        """Count a request of the running test; give what books its end there, whenever it comes."""
        requests = self._now

        def book(what: str, count: int = 1) -> None:
            with self._lock:
                requests[what] += count

        book("sent")
        return book

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function that sends a request, and counts."""

        def send(*args: Any, **options: Any) -> Any:
            if _is_the_servers_own():
                return call(*args, **options)
            book = self.sent()
            try:
                answer = call(*args, **options)
            except (httpx.TimeoutException, TimeoutError):
                raise  # nobody waits for it any more, and it was not answered: it hangs
            except httpx.ConnectError:
                book("sent", -1)
                raise
            except Exception:
                book("cut")
                raise
            book("answered")
            return answer

        return send

    def watch(self) -> None:
        """Count what goes through httpx, http.client (requests too) and gRPC."""
        for owner, name in (
            (httpx.HTTPTransport, "handle_request"),
            (http.client.HTTPConnection, "getresponse"),
        ):
            setattr(owner, name, self.counted(getattr(owner, name)))
        make, counter = grpc.insecure_channel, _GrpcCounter(self)
        grpc.insecure_channel = lambda *a, **o: grpc.intercept_channel(make(*a, **o), counter)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Book the requests of a test."""
        self._now = Counter()
        for name in _faults_of(item.nodeid):
            self.seen[name].requests.append(self._now)
        yield

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Book the outcome of a test."""
        if report.when == "call" or report.outcome != "passed":
            for name in _faults_of(report.nodeid):
                self.seen[name].outcomes[report.outcome] += 1

    @property
    def table(self) -> Table:
        """What came of it all."""
        table = Table("fault", "expected", "seen", "sent", "answered", "cut", "hangs")
        for name, expected, _ in FAULTS:
            seen = self.seen[name]
            if not seen.outcomes:
                continue
            said = ", ".join(f"{n} {outcome}" for outcome, n in seen.outcomes.items())
            numbers = [*map(seen.count, ("sent", "answered", "cut")), seen.hangs]
            shown = map(str, numbers) if seen.count("sent") else ["·"] * 4
            mark = "[green]as expected[/]" if seen.is_survived else "[red]NOT as expected[/]"
            table.add_row(name, expected, f"{mark} ({said})", *shown)
        return table


class _GrpcCounter(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, suite: Suite):
        self._suite = suite

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Count a call; it has ended when its code is known."""
        if _is_the_servers_own():
            return continuation(details, request)
        book = self._suite.sent()
        call = continuation(details, request)
        # A server's DEADLINE_EXCEEDED is an answer, and has other words.
        call.add_done_callback(lambda _: book("answered", call.details() != "Deadline Exceeded"))
        return call


def _is_the_servers_own() -> bool:
    """Whether a server that runs in this process asks itself: whether it is ready, what it does."""
    modules = (frame.f_globals["__name__"] for frame, _ in traceback.walk_stack(None))
    return any(name.startswith(("marina.serve.", "marina.gateway.")) for name in modules)


def _faults_of(nodeid: str) -> list[str]:
    path = nodeid.removeprefix("tests/")
    return [name for name, _, tests in FAULTS if any(path.startswith(test) for test in tests)]


def main() -> int:
    """Run the suite; exits with pytest's code, or 1 if a request hangs."""
    suite = Suite()
    suite.watch()
    files = sorted({str(REPO / "tests" / t.partition("::")[0]) for *_, ts in FAULTS for t in ts})
    words = ["-k", " ".join(sys.argv[1:])] if sys.argv[1:] else []
    code = pytest.main([f"--rootdir={REPO}", "-q", "-p", "no:cacheprovider", *words, *files],
                       plugins=[suite, _Chosen()])  # fmt: skip
    Console(width=160).print(suite.table)
    survived = all(seen.is_survived for seen in suite.seen.values() if seen.outcomes)
    return int(code) or int(not survived)


class _Chosen:
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out the tests of the same files that break nothing."""
        left = [item for item in items if not _faults_of(item.nodeid)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if _faults_of(item.nodeid)]


if __name__ == "__main__":
    sys.exit(main())
