"""TorchServe's Java frontend as a child process of our own.

The ``torchserve`` command is not used: it leaves Java behind as a background process, passes no
signals on, and keeps one pid file for the whole temporary folder.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.parking import VARIABLE as PARKING
from handlers.record import VARIABLE as COUNTS_BATCHES
from marina.child import Child
from marina.errors import ServeError
from marina.serve.java import Java, java_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from marina.serve.workspace import Workspace

# TorchServe obeys these over its configuration, and Python's own would come before the archive's
# modules.
_DROPPED = frozenset({"LOG_LOCATION", "METRICS_LOCATION", "PYTHONPATH", "SM_TELEMETRY_LOG"})

# Unless the environment says otherwise. A worker's threads would spin for each other at the end of
# every layer, for milliseconds, on cores that others need to get there: docs/speed.md has what that
# costs on a machine that is not idle. They do so for microseconds, as to sleep and wake takes more.
# And numpy's OpenBLAS would start a thread per core in each, before it is asked for anything.
_DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "5000", "OPENBLAS_NUM_THREADS": "1"}

# What Java says on stdout of a machine without a GPU, and what Log4j says of Java 9 and newer.
_NOISE = ("nvidia-smi not available", "WARNING: sun.reflect.Reflection", "Model server started.")


class TorchServe:
    """One run of TorchServe. It starts without models.

    Args:
        java: The runtime.
        workspace: With ``config.properties`` and ``log4j2.xml`` in it.
        log_dir: Where Java leaves a report if it crashes.
    """

    def __init__(self, java: Java, workspace: Workspace, log_dir: Path):
        self._workspace = workspace
        self._command = java_command(
            java,
            f"-Dmodel_server_home={_torchserve_home()}",
            f"-Dlog4j.configurationFile={workspace.log4j2.as_uri()}",
            f"-Djava.io.tmpdir={workspace.temporary}",
            f"-XX:ErrorFile={log_dir / 'hs_err_pid%p.log'}",
            *("-cp", f"{_torchserve_home() / 'ts' / 'frontend'}/*"),
            "org.pytorch.serve.ModelServer",
            *("--python", str(_worker_program())),
            *("-f", str(workspace.config)),
            *("-s", str(workspace.store)),
            "-ncs",  # no snapshots: on a full disk they are torn, and the next start obeys them
        )
        self._child: Child | None = None

    def start(self) -> None:
        """Start it."""
        self._child = Child(
            self._command,
            self._workspace.output,
            folder=self._workspace.folder,
            environment=_environment(self._workspace),
        )

    @property
    def is_running(self) -> bool:
        """Whether Java runs."""
        return self._child is not None and self._child.is_running

    def check(self) -> None:
        """Raise if Java has ended.

        Raises:
            ServeError: It has; ``details`` holds what it said.
        """
        if self._child is None or self._child.end is None:
            return
        said = self._output()
        reason = next((f": {line}" for line in said if _is_reason(line)), "")
        raise ServeError(f"TorchServe {self._child.end}{reason}", details="\n".join(said))

    def stop(self, timeout_s: float, is_forced: Callable[[], bool]) -> None:
        """End it and everything that it started, see `Child.stop`."""
        if self._child is not None:
            self._child.stop(timeout_s, is_forced)

    def kill(self) -> None:
        """Kill it and everything that it started."""
        if self._child is not None:
            self._child.kill()

    def _output(self) -> list[str]:
        text = self._workspace.output.read_text(errors="replace")
        return [line for line in text.splitlines() if line and not line.startswith(_NOISE)]


def _torchserve_home() -> Path:
    """Give the folder that holds the package ``ts``, without importing it."""
    spec = find_spec("ts")
    if spec is None or not spec.submodule_search_locations:
        raise ServeError("the package torchserve is not installed: run `uv sync`")
    return Path(next(iter(spec.submodule_search_locations))).parent


def _worker_program() -> Path:
    """Give `marina.worker`, beside the Python that runs this; that Python where it is not."""
    program = Path(sys.executable).with_name("marina-worker")
    return program if program.exists() else Path(sys.executable)


def _environment(workspace: Workspace) -> dict[str, str]:
    """Give the environment of TorchServe and its workers."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _DROPPED and not name.startswith("TS_")
    }
    own = {"TMPDIR": str(workspace.temporary), PARKING: str(workspace.parking), COUNTS_BATCHES: "1"}
    return {**_DEFAULTS, **kept, **own}


def _is_reason(line: str) -> bool:
    return line.startswith(("Invalid configuration:", "Error", "Caused by:")) or (
        "Exception: " in line
    )
