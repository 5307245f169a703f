"""A server from start to stop: TorchServe with all that stands around it."""

from __future__ import annotations

import contextlib
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from marina.archive.store import ModelStore
from marina.errors import ServeError
from marina.serve.engine import Engine
from marina.serve.events import logged
from marina.serve.fleet import Fleet
from marina.serve.front import Front
from marina.serve.grpc import GrpcManagement
from marina.serve.health import Health
from marina.serve.interruption import Interruption
from marina.serve.keys import FILE as KEY_FILE
from marina.serve.meters import Meters
from marina.serve.operations import Operations
from marina.serve.ports import check_ports
from marina.serve.reception import Reception
from marina.serve.rest import RestManagement
from marina.serve.state import StateFile, state_of
from marina.serve.status import StatusFile
from marina.serve.supervisor import Supervisor
from marina.serve.workspace import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from marina.serve.config import ServeConfig
    from marina.serve.log import Line
    from marina.serve.served import Served
    from marina.serve.state import State

    OnEvent = Callable[[str], None]
    OnLine = Callable[[Line], None]

_POLL_S = 0.1


class Server:
    """A TorchServe of our own with all that stands around it; `running` starts and stops it.

    Args:
        config: Where it listens.
        models: The archives that it serves; the first version of each name is the default.
        log_dir: Folder of its logs and of ``serve.json``.
        interruption: Tells of signals.
        state: How the models are served; None serves them as they ask.
        state_file: Keeps the state; None keeps it as long as the server runs.
        keys: One of them must have signed what is registered later; none asks for no signature.
        echo: Called with each line of TorchServe's log.
        on_event: Called with a line for each step.

    Attributes:
        log_dir: The folder, as an absolute path.
        rest_url: Where REST inference is.
        grpc_target: Where gRPC inference is, as ``host:port``.
        management_url: Where REST management is, and ``/ready``.
        grpc_management_target: Where gRPC management is, as ``host:port``.
        metrics_url: Where the Prometheus metrics are.
    """

    def __init__(
        self,
        config: ServeConfig,
        models: Sequence[Served],
        log_dir: Path,
        interruption: Interruption,
        *,
        state: State | None = None,
        state_file: StateFile | None = None,
        keys: Sequence[Ed25519PublicKey] = (),
        echo: OnLine | None = None,
        on_event: OnEvent = lambda _: None,
    ):
        self.log_dir = log_dir.resolve()
        self.rest_url = config.rest_url
        self.grpc_target = config.grpc_target
        self.management_url = config.management_url
        self.grpc_management_target = config.grpc_management_target
        self.metrics_url = config.metrics_url
        self._config = config
        self._interruption = interruption
        self._on_event = logged(on_event, self.log_dir)
        self._meters = Meters(config, self.log_dir, self._served)
        on_line = [self._meters.on_torchserve, *([echo] if echo else [])]
        self._engine = Engine(config, self.log_dir, on_line=on_line, on_event=self._on_event)
        self._fleet = Fleet(
            state or state_of(models),
            models,
            self._engine,
            ModelStore(config.model_store),
            state_file,
            self._check_operation,
            keys,
        )
        self._operations = Operations(self._on_event)
        self._front = self._make_front()
        self._health = Health(self._engine, self._fleet, config.probe_timeout_s, self._front)
        self._supervisor = Supervisor(
            self._engine,
            self._fleet,
            self._health,
            self._operations,
            self._front,
            interruption.check,
            self._on_event,
        )
        self._status = StatusFile(self.log_dir, config, self._fleet.all)
        self._cleanup = ExitStack()
        self._is_claimed = self._is_ready = False

    @property
    def models(self) -> tuple[Served, ...]:
        """What it serves, the default of each model first."""
        return tuple(served for served, _ in self._fleet.all())

    @property
    def token(self) -> Path | None:
        """What a client shows to be answered: the file of the tokens, None if none is wanted."""
        return self.log_dir / KEY_FILE if self._engine.keys else None

    def start(self) -> None:
        """Start TorchServe and wait until it is ready.

        Raises:
            ServeError: It cannot start; the message has the cause in one line, ``details`` what
                lies behind it.
            KeyboardInterrupt: Ctrl-C came meanwhile.
        """
        sweep()  # a killed server's Java may still hold the ports
        check_ports(self._config)
        self._status.claim()
        self._is_claimed = True
        if self._front is not None:
            self._front.check_splits()
        self._cleanup.callback(self._engine.close)
        with self._operations.kept_out("the server's start"):
            self._listen()
            self._cleanup.callback(self._meters.stop)
            self._meters.start(
                self._engine, self._fleet, self._health, self._supervisor, self._front
            )
            self._engine.start(self._interruption.check)
            self._show_tokens()
            self._fleet.load_all(self._interruption.check, self._on_event)
            if self._front is not None:
                self._cleanup.callback(self._front.stop)
                self._front.start(self._interruption.check)
            self._fleet.keep()
        self._is_ready = True
        self._set_phase("ready")
        self._health.start()
        self._cleanup.callback(self._health.stop)
        self._on_event(f"ready: REST on {self.rest_url}, gRPC on {self.grpc_target}")

    def wait(self) -> None:
        """Wait for Ctrl-C or SIGTERM, and mend what breaks meanwhile.

        Raises:
            ServeError: It breaks too often, or cannot be mended.
        """
        interruption = self._interruption
        interruption.phase = "waiting"
        try:
            with contextlib.suppress(KeyboardInterrupt, SystemExit):  # amid a repair
                while not interruption.came:
                    self._supervisor.step()
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
            if self._is_ready and self._engine.is_running:
                self._drain()
                self._engine.stop(lambda: self._interruption.forced)
        finally:
            self._cleanup.close()
            self._status.write("stopped", error)
        self._on_event("stopped")

    def _make_front(self) -> Front | None:
        if self._config.gateway is None:
            return None
        front = Front(self._config, self._engine, self._fleet, self.log_dir)
        self._fleet.is_arm = front.is_arm
        return front

    def _listen(self) -> None:
        """Open the management side; until the server is ready, it says so."""
        reception = Reception(
            self._fleet, self._operations, self._health, self._engine, self._front, self.log_dir
        )
        address, config = self._config.management_address, self._config
        for listener in (
            RestManagement(reception, address, config.management_port),
            GrpcManagement(reception, address, config.grpc_management_port),
        ):
            listener.start()
            self._cleanup.callback(listener.stop)

    def _served(self) -> list[tuple[str, str]]:
        """Give name and version of all that is served, the default of each model first."""
        return [(served.name, served.version) for served, _ in self._fleet.all()]

    def _show_tokens(self) -> None:
        """Link TorchServe's tokens to where ``serve.json`` says that they are."""
        link = self.log_dir / KEY_FILE
        link.unlink(missing_ok=True)
        if self._engine.token is not None:
            link.symlink_to(self._engine.token)
            self._cleanup.callback(link.unlink, missing_ok=True)

    def _check_operation(self) -> None:
        """Raise what makes waiting in an operation vain."""
        if self._interruption.came:
            raise ServeError("the server stops")
        self._engine.check()

    def _set_phase(self, phase: str) -> None:
        self._health.phase = phase
        self._status.write(phase)

    def _drain(self) -> None:
        """Wait for the requests in flight."""
        self._set_phase("draining")
        self._on_event("draining: waiting for requests in flight")
        timeout_s = self._config.drain_timeout_s
        names = [model.name for model in self.models]
        started = time.monotonic()
        if self._front is not None:  # without it, clients may go on asking, and no drain ends
            self._front.drain(timeout_s, lambda: self._interruption.forced)
        left_s = max(0.0, timeout_s - (time.monotonic() - started))
        if not self._engine.drain(names, left_s, lambda: self._interruption.forced):
            why = "forced" if self._interruption.forced else f"not all answered in {timeout_s:g} s"
            self._on_event(f"requests in flight are given up: {why}")
