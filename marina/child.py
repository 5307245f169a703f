"""A server as a child process of our own: Java or Envoy."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TETHER = Path(__file__).with_name("tether.py")
_POLL_S = 0.02


class Child:
    """One run of a program, out of reach of a terminal's Ctrl-C.

    On Linux it dies with the thread that starts it, even if that is killed.

    Args:
        command: The program and its arguments.
        output: File for what it says on stdout and stderr.
        folder: To run it in; None is this process's own.
        environment: Its variables; None is this process's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        output: Path,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ):
        with output.open("wb") as stdout:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def end(self) -> str | None:
        """How it ended, for people; None if it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    def stop(self, timeout_s: float, is_forced: Callable[[], bool]) -> None:
        """End it and everything that it started.

        Args:
            timeout_s: How long it may take to end by itself.
            is_forced: Asked meanwhile; true ends it at once.
        """
        if self.is_running:
            self._process.terminate()
        deadline = time.monotonic() + timeout_s
        while self.is_running and time.monotonic() < deadline and not is_forced():
            time.sleep(_POLL_S)
        self.kill()

    def kill(self) -> None:
        """Kill it and everything that it started."""
        with contextlib.suppress(ProcessLookupError):  # nobody is left
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
