"""TorchServe from start to stop, as one block of a program.

    with running(config, resolve([], config.model_store), log_dir=Path("logs")) as server:
        print(server.rest_url)
        server.wait()

The block is entered when the server is ready. Whatever ends it, requests in flight are answered,
and then nothing of the server is left.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from marina.errors import ServeError
from marina.serve.drain import Activity, drain
from marina.serve.failure import FailureWatch
from marina.serve.interruption import Interruption
from marina.serve.java import find_java
from marina.serve.log import LOG_FILE, Line, LogFollower
from marina.serve.management import Management
from marina.serve.ports import check_ports
from marina.serve.readiness import check_golden, wait_for_workers
from marina.serve.status import StatusFile
from marina.serve.torchserve import TorchServe
from marina.serve.workspace import Workspace, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from marina.serve.config import ServeConfig
    from marina.serve.served import Served

OnEvent = Callable[[str], None]

_POLL_S = 0.1
_STOP_TIMEOUT_S = 15.0
_LOG_DELAY_S = 0.3  # what a worker says, through Java and the file, to the follower


class Server:
    """A TorchServe of our own, which `running` starts and stops.

    Args:
        config: Where it listens.
        models: What it serves; the first version of each name is the default.
        log_dir: Folder of its logs and of ``serve.json``.
        interruption: Tells of signals.
        foreground: Copy TorchServe's log to stderr.
        on_event: Called with a line for each step.

    Attributes:
        models: What it serves.
        log_dir: The folder, as an absolute path.
        rest_url: Where REST inference is.
        grpc_target: Where gRPC inference is, as ``host:port``.
        management_url: Where REST management is.
        metrics_url: Where the Prometheus metrics are.
    """

    def __init__(
        self,
        config: ServeConfig,
        models: Sequence[Served],
        log_dir: Path,
        interruption: Interruption,
        *,
        foreground: bool = False,
        on_event: OnEvent = lambda _: None,
    ):
        self.models = tuple(models)
        self.log_dir = log_dir.resolve()
        self.rest_url = config.rest_url
        self.grpc_target = config.grpc_target
        self.management_url = config.management_url
        self.metrics_url = config.metrics_url
        self._config = config
        self._interruption = interruption
        self._foreground = foreground
        self._on_event = on_event
        self._status = StatusFile(self.log_dir, config, self.models)
        self._management = Management(config.management_url)
        self._activity = Activity()
        self._cleanup = ExitStack()
        self._process: TorchServe | None = None
        self._workers: dict[Served, int] = {}
        self._is_claimed = self._is_ready = False

    def start(self) -> None:
        """Start TorchServe and wait until it is ready.

        Raises:
            ServeError: It cannot start; the message has the cause in one line, ``details`` what
                lies behind it.
            KeyboardInterrupt: Ctrl-C came meanwhile.
        """
        java = find_java()
        sweep()  # a killed server's Java may still hold the ports
        check_ports(self._config)
        self._status.claim()
        self._is_claimed = True
        workspace = Workspace.create()
        self._cleanup.callback(workspace.remove)
        archives = workspace.furnish(self._config, self.models, self.log_dir)
        watch = FailureWatch(archives)
        follower = self._follow(watch)
        self._on_event(f"starting TorchServe on Java {java.version or java.home}")
        arguments = [f"{model.name}={file}" for file, model in archives.items()]
        self._process = TorchServe(java, workspace, self.log_dir, arguments)
        self._process.start()
        self._cleanup.callback(self._process.kill)
        self._become_ready(watch, self._process)
        follower.dismiss(watch)

    def wait(self) -> None:
        """Wait for Ctrl-C or SIGTERM.

        Raises:
            ServeError: TorchServe died.
        """
        interruption = self._interruption
        interruption.phase = "waiting"
        try:
            while not interruption.came and self._process is not None:
                self._process.check()
                time.sleep(_POLL_S)
        finally:
            interruption.phase = "stopping" if interruption.came else "serving"

    def stop(self, error: str | None = None) -> None:
        """Answer what is in flight, then end everything and clean up.

        Args:
            error: Why it ends, for ``serve.json``, if something went wrong.
        """
        if not self._is_claimed:
            return
        try:
            if self._process is not None and self._is_ready:
                self._drain(self._process)
                self._process.stop(_STOP_TIMEOUT_S, lambda: self._interruption.forced)
        finally:
            self._cleanup.close()
            self._management.close()
            self._status.write("stopped", {}, error)
        self._on_event("stopped")

    def _follow(self, watch: FailureWatch) -> LogFollower:
        listeners: list[Callable[[Line], None]] = [watch, self._activity]
        if self._foreground:
            listeners.append(lambda line: print(line.whole, file=sys.stderr))  # noqa: T201
        follower = LogFollower(self.log_dir / LOG_FILE, listeners)
        follower.start()
        self._cleanup.callback(follower.stop)
        return follower

    def _become_ready(self, watch: FailureWatch, process: TorchServe) -> None:
        """Wait for the workers, then for right answers."""

        def check() -> None:
            self._interruption.check()
            watch.check()
            process.check()

        self._workers = wait_for_workers(
            self.models, self._management, self._config.start_timeout_s, check, self._tell_workers
        )
        try:
            check_golden(self.models, self._config, check)
        except ServeError as err:
            time.sleep(_LOG_DELAY_S)
            raise ServeError(str(err), details=err.details or watch.traceback()) from err
        self._is_ready = True
        self._status.write("ready", self._workers)
        self._on_event(f"ready: REST on {self.rest_url}, gRPC on {self.grpc_target}")

    def _tell_workers(self, model: Served, ready: int, wanted: int) -> None:
        if ready:
            self._on_event(f"{model}: {ready} of {wanted} workers loaded")

    def _drain(self, process: TorchServe) -> None:
        """Wait for the requests in flight, unless nobody is there to answer them."""
        if not process.is_running:
            return
        self._status.write("draining", self._workers)
        self._on_event("draining: waiting for requests in flight")
        timeout_s = self._config.drain_timeout_s
        is_drained = drain(
            {model.name for model in self.models},
            self._management,
            self._activity,
            timeout_s,
            is_aborted=lambda: self._interruption.forced or not process.is_running,
        )
        if not is_drained:
            why = "forced" if self._interruption.forced else f"not all answered in {timeout_s:g} s"
            self._on_event(f"requests in flight are given up: {why}")


@contextmanager
def running(
    config: ServeConfig,
    models: Sequence[Served],
    *,
    log_dir: Path = Path("logs"),
    foreground: bool = False,
    on_event: OnEvent = lambda _: None,
) -> Iterator[Server]:
    """Serve models while a block runs.

    The block is entered when every worker has loaded and a golden image of each model is answered
    rightly over REST and gRPC. At its end, however it ends, requests in flight are answered, and
    then no process and no temporary file is left. In the main thread, Ctrl-C and SIGTERM end the
    block (or its `Server.wait`), and a second one ends everything at once.

    Args:
        config: Where to listen.
        models: What to serve, see `resolve`.
        log_dir: Folder of ``torchserve.log``, ``access.log`` and ``serve.json``.
        foreground: Copy TorchServe's log to stderr.
        on_event: Called with a line for each step.

    Yields:
        The server.

    Raises:
        ServeError: It cannot start, or died while `Server.wait` waited.
    """
    error: str | None = None
    with Interruption() as interruption:
        server = Server(
            config, models, log_dir, interruption, foreground=foreground, on_event=on_event
        )
        try:
            server.start()
            interruption.phase = "serving"
            interruption.check()  # one that came just before the line above
            yield server
        except ServeError as err:
            error = str(err)
            raise
        finally:
            try:
                interruption.phase = "stopping"
            finally:  # one that is raised just before the line above
                server.stop(error)
