"""What is broken on purpose comes back by itself, and what breaks too often ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from marina.client import ManagementClient
from marina.errors import ServeError
from marina.serve import Server, kept_state, running
from marina.serve.workspace import sweep

from .archives import put_into_store
from .conftest import PORTS, free_config, processes_of, wait_until
from .load import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from marina.client import ModelStatus
    from marina.serve import ServeConfig

pytestmark = pytest.mark.slow

BACK_S = 90.0
MARINA = str(Path(sys.executable).with_name("marina"))


@contextmanager
def serving(config: ServeConfig, events: list[str] | None = None) -> Iterator[Server]:
    """Serve all of a store, whose state is kept."""
    heard = [] if events is None else events
    with (
        kept_state(config.model_store) as kept,
        running(
            config,
            kept.models,
            log_dir=config.model_store.parent / "logs",
            state=kept.state,
            state_file=kept.file,
            on_event=heard.append,
        ) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one version with two workers, and of another that is the default."""
    folder = tmp_path_factory.mktemp("supervised") / "store"
    put_into_store(folder, "1.0", minWorkers=2, maxWorkers=2)
    put_into_store(folder, "2.0")
    with serving(replace(free_config(folder), probe_timeout_s=2.0)) as server:
        yield server


def ready(server: Server) -> tuple[int, str]:
    answer = httpx.get(f"{server.management_url}/ready", timeout=20)
    return answer.status_code, answer.json().get("message", "")


def pids(server: Server, version: str) -> list[int]:
    for each in server._engine.management.conditions("stub"):
        if each.version == version:
            return [worker["pid"] for worker in each.told["workers"]]
    raise AssertionError(f"no version {version}")


def supervised(server: Server, condition: Callable[[], object]) -> None:
    """Let the supervisor work in this thread, as `Server.wait` does, until a condition holds."""
    wait_until(lambda: server._supervisor.step() or condition(), timeout_s=BACK_S)


def described(manager: ManagementClient) -> list[ModelStatus]:
    return sorted(manager.models(), key=lambda status: status.version)


def wait_unready(server: Server) -> str:
    """Give the reason for which it is not ready, within the two seconds that are promised."""
    started = time.monotonic()
    while (answer := ready(server))[0] == 200:
        assert time.monotonic() - started < 2, "it still says that it is ready"
        time.sleep(0.02)
    return answer[1]


@pytest.mark.parametrize("count", [1, 2])
def test_killed_workers_come_back_and_each_request_is_answered(server: Server, count: int) -> None:
    supervised(server, lambda: ready(server)[0] == 200)
    port = server._config.rest_port
    with Load(port, "/predictions/stub/1.0", threads=4) as load:
        load.until(50)
        for pid in pids(server, "1.0")[:count]:
            os.kill(pid, signal.SIGKILL)
        assert "of 2 workers are ready" in wait_unready(server)
        supervised(server, lambda: ready(server)[0] == 200)
        load.until(len(load.ledger.answers) + 50)
    statuses = load.ledger.statuses
    assert set(statuses) <= {200, 500, 503, 507}, statuses
    assert sum(statuses.values()) - statuses[200] <= 4 * count, "more than was in flight"


def test_a_killed_frontend_comes_back_with_what_was_served(server: Server) -> None:
    supervised(server, lambda: ready(server)[0] == 200)
    with ManagementClient(server.management_url) as manager:
        manager.set_default("stub", "1.0")
        before = described(manager)
        java = psutil.Process(pids(server, "1.0")[0]).parent()
        assert java is not None
        with Load(server._config.rest_port, threads=4) as load:
            load.until(50)
            java.kill()
            assert wait_unready(server)
            supervised(server, lambda: ready(server)[0] == 200)
            load.until(len(load.ledger.answers) + 50)
        assert set(load.ledger.statuses) <= {0, 200, 404, 500, 503, 507}
        assert described(manager) == before
        manager.set_default("stub", "2.0")


def test_a_frontend_that_dies_as_it_comes_back_is_started_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervised(server, lambda: ready(server)[0] == 200)
    load_all, repairs = server._fleet.load_all, server._supervisor.repairs["torchserve"]

    def die(*arguments: Any) -> None:
        monkeypatch.undo()
        server._engine.kill()
        load_all(*arguments)

    monkeypatch.setattr(server._fleet, "load_all", die)
    server._engine.kill()
    supervised(server, lambda: ready(server)[0] == 200)
    assert server._supervisor.repairs["torchserve"] == repairs + 2
    assert len(pids(server, "1.0")) == 2


def test_a_version_that_hangs_is_made_to_start_anew(server: Server) -> None:
    supervised(server, lambda: ready(server)[0] == 200)
    (pid,) = pids(server, "2.0")
    psutil.Process(pid).suspend()
    supervised(server, lambda: pids(server, "2.0") != [pid])
    assert not psutil.pid_exists(pid)
    supervised(server, lambda: ready(server)[0] == 200)


def test_workers_that_torchserve_gave_up_are_brought_back(tmp_path: Path) -> None:
    events: list[str] = []
    obstacle = tmp_path / "obstacle"
    put_into_store(
        tmp_path / "store", "1.0", maxRetryTimeoutInSec=1, stub={"fail_while": str(obstacle)}
    )
    with serving(free_config(tmp_path / "store"), events) as server:
        obstacle.touch()
        os.kill(pids(server, "1.0")[0], signal.SIGKILL)
        given_up = server._engine.activity.of("stub", "1.0")
        wait_until(lambda: given_up.given_up == 1, timeout_s=BACK_S)
        assert ready(server)[0] == 503
        obstacle.unlink()
        supervised(server, lambda: ready(server)[0] == 200)
    assert "stub 1.0: TorchServe has given up 1 of its workers: repair 1 of 5" in events


def break_twice(server: Server) -> None:
    for _ in range(2):
        server._engine.kill()
        server._supervisor._next_s = 0.0
        server._supervisor.step()


def test_what_breaks_too_often_ends_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marina.serve.supervisor.MOST_REPAIRS", 1)
    put_into_store(tmp_path / "store", "1.0")
    with (
        pytest.raises(ServeError, match=r"given up after 1 repairs within 10 minutes.*SIGKILL"),
        serving(free_config(tmp_path / "store")) as server,
    ):
        break_twice(server)
    status = json.loads((tmp_path / "logs" / "serve.json").read_text())
    assert "given up after" in status["error"]


def test_marina_serve_itself_is_killed(tmp_path: Path) -> None:
    """What was registered, scaled and made the default is there after the next start."""
    store, config = tmp_path / "store", free_config(tmp_path / "store")
    put_into_store(store, "1.0")
    environment = {
        **os.environ,
        **{f"MARINA_{name.upper()}": str(getattr(config, name)) for name in PORTS},
    }

    status = tmp_path / "logs" / "serve.json"
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [MARINA, "serve", "--no-tokens", "--model-store", str(store)]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
        started.append(process)

        def is_ready() -> bool:
            assert process.poll() is None, "it ended"
            told = json.loads(status.read_text()) if status.exists() else {}
            return bool(told.get("pid") == process.pid and told["status"] == "ready")

        wait_until(is_ready, timeout_s=BACK_S)
        return process

    try:
        first = start()
        put_into_store(store, "2.0")
        with ManagementClient(config.management_url) as manager:
            manager.register("stub", "2.0", workers=2, batch_size=3)
            manager.set_default("stub", "2.0")
            before, state = described(manager), (store / "state.json").read_bytes()
            first.kill()
            first.wait()
            wait_until(lambda: not processes_of(first.pid))
            second = start()
            assert described(manager) == before
            assert (store / "state.json").read_bytes() == state
            second.terminate()
            assert second.wait(timeout=60) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
        sweep()
