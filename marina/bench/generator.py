"""The load generator: Locust in a child process, told what to do over a pipe."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Self

from marina.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from marina.bench.load import Load

_POLL_S = 0.25
_GRACE_S = 60.0  # beyond the load itself: for answers that are due, and a slow machine
_PROBE_S = 90.0  # the child gives up after 60, see `marina.bench.wires`


@dataclass(frozen=True)
class Drive:
    """What one load gave, as the child tells it.

    Attributes:
        started_s: When the load began, in seconds since the epoch.
        ended_s: When it ended.
        cpu_s: What the load generator itself used meanwhile.
        start_s: Per request, when it should have started.
        latency_ms: Per request.
        status: Per request; 0 where no answer came.
        upstream_ms: Per request; what a gateway says of the server behind it.
        errors: How often each error message came.
    """

    started_s: float
    ended_s: float
    cpu_s: float
    start_s: list[float]
    latency_ms: list[float]
    status: list[int]
    upstream_ms: list[float | None]
    errors: dict[str, int]


class LoadGenerator:
    """A child process with Locust in it. It ends with the block.

    Attributes:
        pid: Of the child.
    """

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile("w+")
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._log.close()

    def drive(self, load: Load, on_tick: Callable[[], None] = lambda: None) -> Drive:
        """Run a load to its end.

        Args:
            load: What to do.
            on_tick: Called a few times a second meanwhile.

        Raises:
            BenchError: The child failed.
        """
        length_s = load.warmup_s + load.duration_s
        return Drive(**self._ask(load, {}, length_s + _GRACE_S, on_tick))

    def probe(self, load: Load) -> tuple[int, str]:
        """Send the first image once, and give the answer's status and body.

        Raises:
            BenchError: The child failed.
        """
        first = replace(load, images=load.images[:1])
        answer = self._ask(first, {"probe": True}, _PROBE_S, lambda: None)
        return answer["status"], answer["body"]

    def _ask(
        self, load: Load, more: dict[str, Any], timeout_s: float, on_tick: Callable[[], None]
    ) -> dict[str, Any]:
        images = [str(path.resolve()) for path in load.images]
        assert self._child.stdin is not None  # noqa: S101 - it was opened with a pipe
        try:
            self._child.stdin.write(json.dumps({**load.as_dict(), "images": images, **more}) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError as err:
            raise BenchError(f"the load generator died: {self._said()}") from err
        answer: dict[str, Any] = json.loads(self._wait(timeout_s, on_tick))
        if "error" in answer:
            raise BenchError(f"the load generator failed: {answer['error']}")
        return answer

    def _wait(self, timeout_s: float, on_tick: Callable[[], None]) -> str:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=_POLL_S)
            except queue.Empty:
                on_tick()
                continue
            if not line:
                raise BenchError(f"the load generator died: {self._said()}")
            return line
        self._end()  # its late answer would be taken for that to the next command
        self._start()
        raise BenchError(f"the load generator gave no answer within {timeout_s:g} s")

    def _start(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "marina.bench.agent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for the parent, which then ends it
        )
        self.pid = self._child.pid
        self._lines: queue.Queue[str] = queue.Queue()
        assert self._child.stdout is not None  # noqa: S101 - it was opened with a pipe
        words = self._child.stdout, self._lines
        threading.Thread(target=_read, args=words, daemon=True).start()

    def _end(self) -> None:
        self._child.kill()
        self._child.wait()

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:].strip() or "it said nothing"


def _read(lines: IO[str], to: queue.Queue[str]) -> None:
    for line in lines:
        to.put(line)
    to.put("")
