"""All that is measured of a server, and where Prometheus finds it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector

from marina.gateway.access_log import FILE as ACCESS_LOG_FILE
from marina.serve.exposition import Exposition
from marina.serve.inventory import Inventory
from marina.serve.log import LogFollower
from marina.serve.observation import Observations, parse_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from marina.serve.config import ServeConfig
    from marina.serve.engine import Engine
    from marina.serve.fleet import Fleet
    from marina.serve.front import Front
    from marina.serve.health import Health
    from marina.serve.log import Line
    from marina.serve.supervisor import Supervisor


class Meters:
    """Counts, looks and shows while a server runs.

    Args:
        config: Says where to show it.
        log_dir: Folder of the gateway's log.
        served: Gives name and version of all that is served, the default of each model first.
    """

    def __init__(
        self,
        config: ServeConfig,
        log_dir: Path,
        served: Callable[[], Iterable[tuple[str, str]]],
    ):
        self._config = config
        self._log_dir = log_dir
        self._registry = CollectorRegistry()
        self._observations = Observations(self._registry, served)
        self._cleanup = ExitStack()

    def on_torchserve(self, line: Line) -> None:
        """Take a line of TorchServe's log."""
        self._observations.on_torchserve(line)

    def start(
        self,
        engine: Engine,
        fleet: Fleet,
        health: Health,
        supervisor: Supervisor,
        front: Front | None,
    ) -> None:
        """Listen for Prometheus, and follow the gateway's log if there is a gateway."""
        observations = self._observations
        ProcessCollector(registry=self._registry)
        self._registry.register(Inventory(engine, fleet, health, supervisor, front, observations))
        exposition = Exposition(
            self._registry,
            lambda: engine.config.metrics_url,
            self._config.metrics_address,
            self._config.metrics_port,
        )
        exposition.start()
        self._cleanup.callback(exposition.stop)
        if front is not None:
            log = self._log_dir / ACCESS_LOG_FILE
            follower = LogFollower(log, parse_access, [observations.on_gateway])
            follower.start()
            self._cleanup.callback(follower.stop)

    def stop(self) -> None:
        """Show nothing more."""
        self._cleanup.close()
