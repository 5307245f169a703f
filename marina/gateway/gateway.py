"""The gateway from start to stop, and the splits that it holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx

from marina.errors import ServeError, SplitError
from marina.files import write_whole
from marina.gateway import kept_images
from marina.gateway.access_log import FILE as LOG_FILE
from marina.gateway.admin import Admin
from marina.gateway.bootstrap import bootstrap
from marina.gateway.clusters import endpoints
from marina.gateway.envoy import Envoy
from marina.gateway.routes import TABLES, route_table
from marina.gateway.split import Split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from marina.gateway.config import GatewayConfig

SPLITS_FILE = "splits.json"
ENVOY_LOG_FILE = "envoy.log"

_START_TIMEOUT_S = 60.0
_APPLY_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 5.0
_POLL_S = 0.02
_SETTLE_S = 0.1
_LARGEST_LOG_BYTES = 256 * 1024 * 1024


class Gateway:
    """Envoy in front of TorchServe.

    Args:
        config: How it listens.
        upstream: Ports of TorchServe's REST and gRPC inference on the loopback interface.
        folder: Private to this gateway; a socket lies there, so its path is short.
        log_dir: Folder of ``gateway.log``, ``envoy.log`` and ``splits.json``.

    Attributes:
        log: The access log.
    """

    def __init__(
        self, config: GatewayConfig, upstream: tuple[int, int], folder: Path, log_dir: Path
    ):
        self.log = log_dir / LOG_FILE
        self._upstream = upstream
        self._config = config
        self._folder = folder
        self._splits_file = log_dir / SPLITS_FILE
        self._splits = read_splits(log_dir)
        self._envoy = Envoy(folder / "envoy.json", log_dir / ENVOY_LOG_FILE)
        self._admin = Admin(folder / "admin.sock")
        self._change = threading.Lock()
        self._is_log_aside = False

    @property
    def splits(self) -> dict[str, Split]:
        """The splits, by the name of their model."""
        return dict(self._splits)

    @property
    def is_running(self) -> bool:
        """Whether Envoy runs."""
        return self._envoy.is_running

    @property
    def pid(self) -> int | None:
        """Envoy's."""
        return self._envoy.pid

    def start(self, check: Callable[[], None] = lambda: None) -> None:
        """Start Envoy with the splits of its last run, and wait until it listens.

        Args:
            check: Called again and again; raises what makes further waiting vain.

        Raises:
            ServeError: It cannot start.
        """
        self.set_upstream(*self._upstream)
        kept_images.prepare(self.log.parent)
        self._write_tables(self._splits)
        content = bootstrap(self._config, self._folder, self.log)
        write_whole(self._folder / "envoy.json", json.dumps(content))
        self._start_envoy(check)

    def check(self) -> None:
        """Raise if Envoy has ended.

        Raises:
            ServeError: It has.
        """
        self._envoy.check()

    def restart(self, check: Callable[[], None] = lambda: None) -> None:
        """Start Envoy again after it ended; routes and splits are as they were.

        Raises:
            ServeError: It cannot start.
        """
        self._start_envoy(check)

    def set_upstream(self, rest_port: int, grpc_port: int) -> None:
        """Say where TorchServe is, after a restart elsewhere; Envoy follows within a moment."""
        for name, port in (("rest", rest_port), ("grpc", grpc_port)):
            content = json.dumps(endpoints(name, port))
            write_whole(self._folder / f"endpoint_{name}.json", content)

    def set_split(self, split: Split) -> None:
        """Replace the split of a model. When this returns, Envoy routes by it.

        Raises:
            SplitError: Envoy did not take it; the one before holds on.
        """
        with self._change:
            self._apply({**self._splits, split.model: split})
            self._keep({**self._splits, split.model: replace(split, since=_settled())})

    def clear_split(self, model: str) -> None:
        """Send all unversioned requests of a model to its default version again.

        Raises:
            SplitError: It has no split, or Envoy did not take the change.
        """
        with self._change:
            if model not in self._splits:
                raise SplitError(f"{model} has no split: there is nothing to clear")
            left = {name: s for name, s in self._splits.items() if name != model}
            self._apply(left)
            self._keep(left)

    def drain(self, timeout_s: float, is_aborted: Callable[[], bool]) -> bool:
        """Take no more connections, and wait until no request is in flight.

        Args:
            timeout_s: Longest wait.
            is_aborted: Asked meanwhile; true gives up.

        Returns:
            Whether all were answered.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self._admin.post("/healthcheck/fail")
            self._admin.post("/drain_listeners")
            while self._admin.counter(r"http\.(rest|grpc)\.downstream_rq_active"):
                if is_aborted() or time.monotonic() > deadline or not self._envoy.is_running:
                    return False
                time.sleep(_POLL_S)
        except httpx.HTTPError:
            return False
        return True

    def tend(self) -> None:
        """Keep what is kept from growing: the access log, and images that nobody takes."""
        kept_images.sweep(self.log.parent)
        self.rotate_log()

    def rotate_log(self) -> None:
        """Put the access log aside when it has grown large; the one put aside before goes.

        Until Envoy hears of it, it goes on in the old one, and is told again the next time.
        """
        if self.log.exists() and self.log.stat().st_size >= _LARGEST_LOG_BYTES:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
            self._is_log_aside = True
        if self._is_log_aside:
            with contextlib.suppress(httpx.HTTPError):
                self._admin.post("/reopen_logs")
                self._is_log_aside = False

    def stop(self, is_forced: Callable[[], bool] = lambda: False) -> None:
        """End Envoy."""
        self._envoy.stop(_STOP_TIMEOUT_S, is_forced)
        self._admin.close()

    def _start_envoy(self, check: Callable[[], None]) -> None:
        (self._folder / "admin.sock").unlink(missing_ok=True)
        self._envoy.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._admin.is_live():
            check()
            self._envoy.check()
            if time.monotonic() > deadline:
                self._envoy.stop(0)
                raise ServeError(f"the gateway did not start within {_START_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)

    def _apply(self, splits: dict[str, Split]) -> None:
        """Have Envoy route by these splits, or leave all as it was."""
        try:
            self._await_tables(self._write_tables(splits))
        except (OSError, SplitError, httpx.HTTPError) as err:
            self._write_tables(self._splits)
            raise SplitError(f"the gateway did not take the split: {err}") from err

    def _keep(self, splits: dict[str, Split]) -> None:
        stored = {"format": 1, "splits": [split.as_dict() for split in splits.values()]}
        write_whole(self._splits_file, json.dumps(stored, indent=2))
        self._splits = splits

    def _write_tables(self, splits: dict[str, Split]) -> dict[str, str]:
        """Write the tables that change, and give the version of each.

        Envoy passes over a table that says what the one before did, version and all: so a version
        is made of what the table says.
        """
        versions: dict[str, str] = {}
        for table in TABLES:
            resource = route_table(table, splits.values(), self._config)
            text = json.dumps(resource, sort_keys=True)
            versions[table] = hashlib.sha256(text.encode()).hexdigest()[:16]
            content = {"version_info": versions[table], "resources": [resource]}
            write_whole(self._folder / f"{table}.json", json.dumps(content))
        return versions

    def _await_tables(self, versions: dict[str, str]) -> None:
        deadline = time.monotonic() + _APPLY_TIMEOUT_S
        while (applied := self._admin.route_versions()) != versions:
            if time.monotonic() > deadline:
                late = ", ".join(name for name in versions if applied.get(name) != versions[name])
                raise SplitError(f"no new routes for {late} within {_APPLY_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)


def read_splits(log_dir: Path) -> dict[str, Split]:
    """Read the splits that a gateway keeps in its folder, by the name of their model.

    Raises:
        SplitError: The file is damaged.
    """
    file = log_dir / SPLITS_FILE
    if not file.exists():
        return {}
    try:
        stored = json.loads(file.read_text())["splits"]
        return {split.model: split for split in map(Split.from_dict, stored)}
    except (OSError, ValueError, KeyError, TypeError, SplitError) as err:
        raise SplitError(f"{file} is damaged ({err}): remove it to serve without splits") from err


def _settled() -> float:
    """Give the time from which on every request surely falls under the new routes.

    Envoy's main thread has them; each worker thread takes them at its next turn.
    """
    return time.time() + _SETTLE_S
