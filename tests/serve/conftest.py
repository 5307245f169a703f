"""Real servers on free ports, shared where a test only looks."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from marina.client.management import ManagementClient
from marina.serve import GatewayOptions, ServeConfig, Server, resolve, running
from marina.serve.ports import free_ports
from marina.serve.workspace import PREFIX

from .archives import make_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORTS = ("rest_port", "grpc_port", "management_port", "grpc_management_port", "metrics_port")


def free_config(model_store: Path) -> ServeConfig:
    """Give a configuration with ports that nobody listens on."""
    return ServeConfig.on_free_ports(model_store)


def gateway_config(model_store: Path) -> ServeConfig:
    """Give such a configuration with a gateway."""
    return replace(free_config(model_store), gateway=GatewayOptions(free_ports(1)[0]))


def workspaces(pid: int) -> list[Path]:
    """List the private folders of a process's servers."""
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{pid}-*"))


def processes_of(pid: int) -> list[psutil.Process]:
    """List the processes of a process's servers: Java and the workers."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if any(f"{PREFIX}{pid}-" in argument for argument in process.info["cmdline"] or [])
    ]


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for a condition, and fail if it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def assert_nothing_left(pid: int) -> None:
    """Check that no process and no folder of a process's servers is left."""
    assert workspaces(pid) == []
    assert processes_of(pid) == []


@pytest.fixture
def config(tmp_path: Path) -> ServeConfig:
    return free_config(tmp_path)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Check that the test leaves of its servers what was there before."""
    before = set(workspaces(os.getpid()))
    count = len(processes_of(os.getpid()))
    yield
    assert set(workspaces(os.getpid())) == before
    assert len(processes_of(os.getpid())) == count


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two versions of one model; 1.0 is given first and is the default."""
    folder = tmp_path_factory.mktemp("server")
    make_archive(folder, "1.0")
    make_archive(folder, "2.0", golden_logits=(4.0, 1.0, 0.0), stub={"logits": [4.0, 1.0, 0.0]})
    models = resolve(["stub-1.0.mar", "stub-2.0.mar"], folder)
    with running(free_config(folder), models, log_dir=folder / "logs") as server:
        yield server


@pytest.fixture(scope="module")
def gateway_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.0, which answers class 1; 2.0, which answers class 0; 9.0, whose queue is short."""
    folder = tmp_path_factory.mktemp("gateway")
    make_archive(folder, "1.0")
    make_archive(folder, "2.0", golden_logits=(4.0, 1.0, 0.0), stub={"logits": [4.0, 1.0, 0.0]})
    make_archive(folder, "9.0", jobQueueSize=1)
    return folder


@pytest.fixture(scope="module")
def gateway_server(gateway_folder: Path) -> Iterator[Server]:
    """These versions behind a gateway."""
    models = resolve([f"stub-{version}.mar" for version in ("1.0", "2.0", "9.0")], gateway_folder)
    config = replace(gateway_config(gateway_folder), metrics_address="127.0.0.2")
    with running(config, models, log_dir=gateway_folder / "logs") as server:
        yield server


@pytest.fixture
def manager(gateway_server: Server) -> Iterator[ManagementClient]:
    """Its management; what a test splits is whole again behind it."""
    with ManagementClient(gateway_server.management_url) as manager:
        yield manager
        for split in manager.splits():
            manager.clear_split(split["model"])
