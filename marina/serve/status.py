"""``serve.json``: what the server is doing, for other programs to read."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import psutil

from marina.errors import ServeError
from marina.files import write_whole
from marina.serve.keys import FILE as KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from marina.serve.config import ServeConfig
    from marina.serve.served import Served
    from marina.serve.state import VersionState

    Models = Callable[[], Sequence[tuple[Served, VersionState]]]

FILE = "serve.json"


class StatusFile:
    """The status file of one server.

    Args:
        log_dir: The folder that it lies in.
        config: Says where the server listens.
        models: Gives what it serves.
    """

    def __init__(self, log_dir: Path, config: ServeConfig, models: Models):
        self._file = log_dir / FILE
        self._urls = {
            "rest": config.rest_url,
            "grpc": config.grpc_target,
            "management": config.management_url,
            "grpc_management": config.grpc_management_target,
            "ready": f"{config.management_url}/ready",
            "metrics": config.metrics_url,
        }
        if config.gateway_metrics_url is not None:
            self._urls["gateway_metrics"] = config.gateway_metrics_url
        self._models = models
        self._tokens = str(log_dir / KEY_FILE) if config.tokens else None

    def claim(self) -> None:
        """Take the folder: make it if need be, and say in it that the server starts.

        Raises:
            ServeError: A running server writes its status and log there, or it is not writable.
        """
        folder = self._file.parent
        pid = self._running_pid()
        if pid is not None:
            raise ServeError(
                f"{folder} is in use by the server of process {pid}: stop that one, or choose "
                "another folder with --log-dir"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.write("starting")
        except OSError as err:
            raise ServeError(
                f"cannot write to the log folder {folder} ({err.strerror}): choose another with "
                "--log-dir"
            ) from err

    def write(self, phase: str, error: str | None = None) -> None:
        """Write the file, whole.

        Args:
            phase: What the server is doing.
            error: Why the server did not start, or died.
        """
        models = [
            {
                "name": model.name,
                "version": model.version,
                "workers": state.workers,
                "file": str(model.file),
                "sha256": model.sha256,
            }
            for model, state in self._models()
        ]
        status: dict[str, Any] = {
            "status": phase,
            "pid": os.getpid(),
            "urls": self._urls,
            "key_file": self._tokens,
            "models": models,
        }
        if error is not None:
            status["error"] = error
        write_whole(self._file, json.dumps(status, indent=2) + "\n")

    def _running_pid(self) -> int | None:
        """Give the process of a server that has the folder now."""
        try:
            other = json.loads(self._file.read_text())
            pid, state = int(other["pid"]), str(other["status"])
            written_s = self._file.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return pid if state != "stopped" and _has_run_since(pid, written_s) else None


def _has_run_since(pid: int, time_s: float) -> bool:
    """Tell whether a process runs that ran at that time; a younger one only got the same pid."""
    try:
        return psutil.Process(pid).create_time() <= time_s
    except psutil.Error:
        return False
