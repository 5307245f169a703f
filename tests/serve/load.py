"""Load from several threads, and a ledger in which each request sent has exactly one answer."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Ledger:
    """What became of every request.

    Attributes:
        sent: Number of requests sent.
        answers: By request: its status and how long it took, in seconds; 0 is no answer.
    """

    sent: int = 0
    answers: dict[int, tuple[int, float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> int:
        with self.lock:
            self.sent += 1
            return self.sent

    def note(self, number: int, status: int, took_s: float) -> None:
        assert number not in self.answers
        self.answers[number] = (status, took_s)

    @property
    def statuses(self) -> dict[int, int]:
        return dict(Counter(status for status, _ in list(self.answers.values())))

    def latencies(self) -> list[float]:
        return sorted(took_s for _, took_s in list(self.answers.values()))


class Load:
    """Threads that send request after request until the block ends.

    Args:
        port: Of REST inference.
        path: What to ask.
        threads: How many.
        body: What to send; the number of the request is put behind it.
        headers: To send.
        timeout_s: How long an answer is waited for.
    """

    def __init__(
        self,
        port: int,
        path: str = "/predictions/stub",
        threads: int = 16,
        headers: Callable[[], dict[str, str]] = dict,
        body: bytes = b"x",
        timeout_s: float = 60,
    ):
        self.ledger = Ledger()
        self._port, self._path, self._headers, self._body = port, path, headers, body
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def until(self, count: int, timeout_s: float = 240) -> None:
        """Wait until so many requests have been answered."""
        deadline = time.monotonic() + timeout_s
        while len(self.ledger.answers) < count:
            assert time.monotonic() < deadline, f"only {len(self.ledger.answers)} answers"
            time.sleep(0.05)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert len(self.ledger.answers) == self.ledger.sent

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout_s)
        while not self._stop.is_set():
            number, started = self.ledger.next(), time.monotonic()
            status = 0
            try:
                headers = {"Content-Type": "application/octet-stream", **self._headers()}
                connection.request("POST", self._path, self._body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                time.sleep(0.05)
            self.ledger.note(number, status, time.monotonic() - started)
        connection.close()
