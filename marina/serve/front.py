"""The gateway as part of a server: Envoy on the public ports, and the splits that it holds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from marina.errors import NotServed, OperationRefused, ServeError, SplitError
from marina.gateway import (
    Gateway,
    GatewayConfig,
    Limits,
    make_split,
    parse_shares,
    read_splits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from marina.gateway import Split
    from marina.serve.config import ServeConfig
    from marina.serve.engine import Engine
    from marina.serve.fleet import Fleet


class Front:
    """Stands before TorchServe, and sends it what it lets through.

    Args:
        config: Where Marina listens; with a gateway.
        engine: Says where TorchServe listens.
        fleet: Says what is served.
        log_dir: Folder of ``gateway.log``, ``envoy.log`` and ``splits.json``.
    """

    def __init__(self, config: ServeConfig, engine: Engine, fleet: Fleet, log_dir: Path):
        self._config = config
        self._engine = engine
        self._fleet = fleet
        self._log_dir = log_dir
        self._gateway: Gateway | None = None
        self._change = threading.Lock()
        self._wanted: tuple[str, list[str]] = ("", [])

    @property
    def is_running(self) -> bool:
        """Whether Envoy runs."""
        return self._gateway is not None and self._gateway.is_running

    def check_splits(self) -> None:
        """Check that all is served that the splits of the last run need.

        Raises:
            ServeError: Something is not.
        """
        for split in read_splits(self._log_dir).values():
            for version in split.versions:
                self._check_served(split.model, version)

    def start(self, check: Callable[[], None]) -> None:
        """Open the public ports.

        Raises:
            ServeError: Envoy does not start.
        """
        folder = self._engine.folder / "gateway"
        folder.mkdir(exist_ok=True)
        upstream = (self._engine.config.rest_port, self._engine.config.grpc_port)
        self._gateway = Gateway(_gateway_config(self._config), upstream, folder, self._log_dir)
        self._gateway.start(check)

    def restart(self, check: Callable[[], None]) -> None:
        """Start Envoy again after it ended."""
        self._running.restart(check)

    def check(self) -> None:
        """Raise if Envoy has ended.

        Raises:
            ServeError: It has.
        """
        self._running.check()

    def tend(self) -> None:
        """Do what is due from time to time."""
        self._running.tend()

    def follow(self) -> None:
        """Send requests to where TorchServe is after a restart."""
        if self._gateway is not None:
            config = self._engine.config
            self._gateway.set_upstream(config.rest_port, config.grpc_port)

    def drain(self, timeout_s: float, is_aborted: Callable[[], bool]) -> bool:
        """Close the public ports to new connections, and wait for the requests in flight."""
        return self._running.drain(timeout_s, is_aborted)

    def stop(self) -> None:
        """End Envoy."""
        if self._gateway is not None:
            self._gateway.stop()

    @property
    def splits(self) -> dict[str, Split]:
        """The splits, by the name of their model."""
        return self._running.splits

    def set_split(self, model: str, given: Mapping[str, object]) -> Split:
        """Replace the split of a model.

        Args:
            model: Its name.
            given: ``weights`` and ``shadow`` as ``VERSION=PERCENT`` with spaces between,
                ``sticky_header``, ``force_header``; ``keep_images`` as a percentage.

        Raises:
            SplitError: It is not valid, or Envoy did not take it.
            NotServed: A version is not served.
            OperationRefused: A version is not ready.
        """
        split = make_split(
            model,
            parse_shares(str(given.get("weights", "")).split()),
            shadow=parse_shares(str(given.get("shadow", "")).split()),
            sticky_header=_text(given, "sticky_header"),
            force_header=_text(given, "force_header"),
            keep_images=_percent(given, "keep_images"),
            before=self.splits.get(model),
        )
        with self._change:
            self._wanted = (model, split.versions)
            try:
                for version in split.versions:
                    self._check_ready(model, version)
                self._running.set_split(split)
            finally:
                self._wanted = ("", [])
        return self.splits[model]

    def clear_split(self, model: str) -> None:
        """Send all unversioned requests of a model to its default version again.

        Raises:
            SplitError: It has no split.
        """
        with self._change:
            self._running.clear_split(model)

    def is_arm(self, model: str, version: str) -> bool:
        """Tell whether a version has a place in its model's split, or is about to get one."""
        split = self._gateway.splits.get(model) if self._gateway else None
        if split is not None and version in split.versions:
            return True
        wanted_model, wanted = self._wanted
        return model == wanted_model and version in wanted

    @property
    def _running(self) -> Gateway:
        if self._gateway is None:
            raise ServeError("the server is starting: try again when it is ready")
        return self._gateway

    def _check_served(self, model: str, version: str) -> None:
        state = self._fleet.state.find(model, version)
        if state is None or not state.workers:
            raise ServeError(
                f"the split of {model} in {self._log_dir} sends requests to version {version}, "
                "which is not served: serve it too, or remove splits.json there"
            )

    def _check_ready(self, model: str, version: str) -> None:
        state = self._fleet.state.find(model, version)
        if state is None:
            there = ", ".join(f"{name} {v}" for name, m in self._fleet.state.models.items()
                              for v in m.versions)  # fmt: skip
            raise NotServed(
                f"{model} {version} is not served; {there or 'nothing'} is. "
                f"`marina models register {model} {version}` first"
            )
        if (model, version) in self._fleet.leaving:
            raise OperationRefused(f"{model} {version} is being drained: name another version")
        conditions = self._engine.management.conditions(model)
        ready = next((each.ready for each in conditions if each.version == version), 0)
        if not state.workers or ready < state.workers:
            raise OperationRefused(
                f"{model} {version} is not ready: {ready} of {state.workers} workers are. The "
                "split is as it was; try again when `marina models list` shows them"
            )


def _text(given: Mapping[str, object], key: str) -> str | None:
    return str(given[key]) if given.get(key) else None


def _percent(given: Mapping[str, object], key: str) -> int:
    try:
        return int(str(given.get(key) or 0))
    except ValueError as err:
        raise SplitError(f"{key} is a whole percentage, not {given[key]!r}") from err


def _gateway_config(config: ServeConfig) -> GatewayConfig:
    options = config.gateway
    if options is None:
        raise ServeError("the server was configured without a gateway")
    return GatewayConfig(
        ready_upstream_port=config.management_port,
        address=config.address,
        rest_port=config.rest_port,
        grpc_port=config.grpc_port,
        metrics_port=options.metrics_port,
        metrics_address=config.metrics_address,
        explanations=options.explanations,
        tls=options.tls,
        limits=Limits(request_bytes=config.max_request_bytes),
    )
