"""A real TorchServe from start to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from marina.client import Client, GrpcClient
from marina.client.management import ManagementClient
from marina.errors import BadImage, Conflict, ServeError, ServerFault, TooLarge
from marina.serve import ServeConfig, Server, resolve, running

from .archives import make_archive
from .conftest import free_config, processes_of, wait_until, workspaces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psutil

    from marina.serve.log import Line

pytestmark = pytest.mark.slow

Clients = tuple[Client, GrpcClient]


@pytest.fixture
def clients(server: Server) -> Iterator[Clients]:
    with Client(server.rest_url) as rest, GrpcClient(server.grpc_target) as grpc:
        yield rest, grpc


def test_it_answers_over_rest_and_grpc(clients: Clients) -> None:
    answers = [client.predict(b"x", model="stub", top_k=1) for client in clients]
    assert answers[0] == answers[1]
    assert [prediction.label for prediction in answers[0]] == ["class 1"]


def test_two_versions_run_their_own_code(clients: Clients) -> None:
    for client in clients:
        assert client.predict(b"x", model="stub", version="1.0")[0].label == "class 1"
        assert client.predict(b"x", model="stub", version="2.0")[0].label == "class 0"


def test_errors_are_the_same_over_both(clients: Clients) -> None:
    for client in clients:
        with pytest.raises(BadImage, match="expected an image"):
            client.predict(b"bad", model="stub")
        with pytest.raises(ServerFault, match="Prediction failed"):
            client.predict(b"raise", model="stub")
        with pytest.raises(TooLarge):
            client.predict(bytes(33 * 1024 * 1024), model="stub")


def test_its_status_is_written(server: Server) -> None:
    status = json.loads((server.log_dir / "serve.json").read_text())
    assert status["status"] == "ready"
    assert status["pid"] == os.getpid()
    assert status["urls"]["rest"] == server.rest_url
    assert [(m["name"], m["version"], m["workers"]) for m in status["models"]] == [
        ("stub", "1.0", 1),
        ("stub", "2.0", 1),
    ]
    assert [m["sha256"] for m in status["models"]] == [m.sha256 for m in server.models]


def test_metrics_are_there_for_prometheus(server: Server, clients: Clients) -> None:
    clients[0].predict(b"x", model="stub", version="1.0")
    metrics = requests.get(server.metrics_url, timeout=5).text
    assert 'ts_inference_requests_total{model_name="stub",model_version="1.0"' in metrics


def test_models_come_from_the_store_alone(server: Server, tmp_path: Path) -> None:
    file = make_archive(tmp_path, name="other")
    url = f"{server.management_url}/models"
    answer = requests.post(url, params={"url": file.as_uri()}, timeout=5)
    assert answer.status_code == 404
    assert "archives come from the model store alone" in answer.json()["message"]


def test_the_ports_of_a_running_server_are_taken(server: Server) -> None:
    started = time.monotonic()
    taken = r"port \d+, for REST, is taken by process \d+ \(.*java.*\)"
    with (
        pytest.raises(ServeError, match=taken),
        running(server._config, server.models, log_dir=server.log_dir.with_name("other")),
    ):
        pass
    assert time.monotonic() - started < 2


def test_a_log_folder_has_one_server(server: Server, tmp_path: Path) -> None:
    config = free_config(tmp_path)
    with (
        pytest.raises(ServeError, match=r"logs is in use by the server of process \d+"),
        running(config, server.models, log_dir=server.log_dir),
    ):
        pass
    assert json.loads((server.log_dir / "serve.json").read_text())["status"] == "ready"


@pytest.mark.usefixtures("nothing_left")
def test_two_servers_side_by_side_and_one_is_killed(
    clients: Clients, config: ServeConfig, tmp_path: Path
) -> None:
    """The second runs in a thread, where there are no signal handlers; its Java is killed."""
    make_archive(tmp_path, "3.0", name="beside")
    events: list[str] = []
    caught: list[ServeError] = []

    def serve() -> None:
        models = resolve(["beside-3.0.mar"], tmp_path)
        try:
            with running(config, models, log_dir=tmp_path, on_event=events.append) as server:
                with Client(server.rest_url) as client:
                    assert client.predict(b"x", model="beside")[0].label == "class 1"
                assert clients[0].predict(b"x", model="stub")[0].label == "class 1"
                next(p for p in processes_of(os.getpid()) if config.rest_port in ports(p)).kill()
                wait_until(lambda: server._supervisor.step() or "back" in events[-1], 60)
                with Client(server.rest_url) as client:
                    assert client.predict(b"x", model="beside")[0].label == "class 1"
        except ServeError as err:
            caught.append(err)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(timeout=90)
    assert caught == []
    assert "TorchServe was killed by SIGKILL: repair 1 of 5" in events
    assert events[-1] == "stopped"
    status = json.loads((tmp_path / "serve.json").read_text())
    assert status["status"] == "stopped"


def ports(process: psutil.Process) -> set[int]:
    return {each.laddr.port for each in process.net_connections() if each.status == "LISTEN"}


@pytest.mark.usefixtures("nothing_left")
def test_earlier_signal_handlers_come_back(config: ServeConfig, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    models = resolve([str(make_archive(tmp_path, stub={"die": 3}))], tmp_path)
    with (
        pytest.raises(ServeError, match="its worker died without a traceback"),
        running(config, models, log_dir=tmp_path),
    ):
        pass
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


@pytest.mark.usefixtures("nothing_left")
def test_a_port_that_is_taken_at_the_last_moment(
    config: ServeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marina.serve.server.check_ports", lambda _: None)
    models = resolve([str(make_archive(tmp_path))], tmp_path)
    with (
        socket.create_server(("127.0.0.1", config.rest_port)),
        pytest.raises(ServeError, match=r"TorchServe ended with 1: .*Failed to bind") as caught,
        running(config, models, log_dir=tmp_path / "logs"),
    ):
        pass
    assert "Address already in use" in caught.value.details


def test_a_log_folder_that_cannot_be_written(config: ServeConfig, tmp_path: Path) -> None:
    models = resolve([str(make_archive(tmp_path))], tmp_path)
    (tmp_path / "logs").touch()
    with (
        pytest.raises(ServeError, match=r"cannot write to the log folder .*choose another"),
        running(config, models, log_dir=tmp_path / "logs"),
    ):
        pass


def test_the_log_is_heard(
    config: ServeConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two models of one archive, the second by another name."""
    make_archive(tmp_path, minWorkers=2, maxWorkers=2)
    models = resolve(["stub-1.0.mar", "other=stub-1.0.mar"], tmp_path)
    log_dir = tmp_path / "logs %s & <ö>"
    lines: list[Line] = []
    with running(config, models, log_dir=log_dir, echo=lines.append) as server:
        names = [(m["name"], m["workers"]) for m in _status(log_dir)["models"]]
        assert names == [("stub", 2), ("other", 2)]
        with Client(server.rest_url) as client:
            assert client.predict(b"x", model="other")[0].label == "class 1"
    assert (output := capfd.readouterr()).out == output.err == ""
    started = "INFO  [W-9000-stub_1.0-stdout] MODEL_LOG - Torch worker started."
    assert any(line.as_text().endswith(f" {started}") for line in lines)
    events = [json.loads(line) for line in (log_dir / "marina.log").read_text().splitlines()]
    assert events[-1]["message"] == "stopped"
    assert "POST /predictions/other" in (log_dir / "access.log").read_text()


def _status(log_dir: Path) -> dict[str, Any]:
    return dict(json.loads((log_dir / "serve.json").read_text()))


def test_without_a_gateway_there_is_no_split(server: Server) -> None:
    with (
        ManagementClient(server.management_url) as manager,
        pytest.raises(Conflict, match="this server has no gateway to split traffic"),
    ):
        manager.set_split("stub", {"1.0": 100})


def test_no_workspace_but_the_shared_servers(server: Server) -> None:
    assert len(workspaces(os.getpid())) == 1
