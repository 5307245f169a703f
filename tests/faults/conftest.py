"""One server, as `marina serve` starts it, for all of the faults: gateway, supervisor and all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from serve.archives import make_archive
from serve.conftest import gateway_config
from tiny import tiny_archive

from marina.serve import GatewayOptions, Server, resolve, running

MAX_BYTES = 1024 * 1024


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Marina's own handlers as ``resnet``; ``stub`` does as it is told, with a deadline of 4 s."""
    folder = tmp_path_factory.mktemp("faults")
    archives = [
        tiny_archive(folder, "resnet", explanations=True),
        make_archive(folder, minWorkers=2, maxWorkers=2, responseTimeout=4),
    ]
    config = gateway_config(folder)
    assert config.gateway is not None
    gateway = GatewayOptions(config.gateway.metrics_port, explanations=True)
    config = replace(config, gateway=gateway, max_request_bytes=MAX_BYTES, address="0.0.0.0")
    models = resolve([str(file) for file in archives], folder)
    with running(config, models, log_dir=folder / "logs") as server, supervised(server):
        yield server


class supervised:  # noqa: N801 - a verb of the server's, as `running` is
    """Let the supervisor work in a thread, as `Server.wait` does in the main one."""

    def __init__(self, server: Server):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[server])

    def _run(self, server: Server) -> None:
        while not self._stop.wait(0.1):
            server._supervisor.step()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def folder(server: Server) -> Path:
    """Of the server's archives."""
    return server.log_dir.parent
