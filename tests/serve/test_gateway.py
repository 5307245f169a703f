"""`marina serve` with its gateway: a real Envoy before a real TorchServe with two versions."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from typer.testing import CliRunner

import marina.cli  # noqa: F401 - it hangs the verbs on app
from marina.cli.app import app
from marina.client import Client, GrpcClient, Retry
from marina.client.management import ManagementClient
from marina.errors import (
    ClientError,
    Conflict,
    ModelNotFound,
    NotReady,
    QueueFull,
    ServeError,
)
from marina.serve import Server, resolve, running

from .arms import ask_grpc, ask_rest
from .conftest import gateway_config, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(gateway_server: Server) -> Server:
    return gateway_server


def test_both_transports_obey_a_split(server: Server, manager: ManagementClient) -> None:
    """And the real TorchServe takes the version that was put behind the message."""
    with Client(server.rest_url) as rest, GrpcClient(server.grpc_target) as grpc_client:
        for version, label in (("2.0", "class 0"), ("1.0", "class 1")):
            manager.set_split("stub", {"1.0": 0, "2.0": 0, version: 100})
            assert rest.predict(b"x", model="stub", top_k=1)[0].label == label
            assert grpc_client.predict(b"x", model="stub", top_k=1)[0].label == label
        assert rest.predict(b"x", model="stub", version="2.0", top_k=1)[0].label == "class 0"
        assert grpc_client.predict(b"x", model="stub", version="2.0", top_k=1)[0].label == "class 0"


def test_large_messages_reach_torchserve_over_both(
    server: Server, manager: ManagementClient
) -> None:
    manager.set_split("stub", {"2.0": 100})
    large = bytes(8 * 1024 * 1024)
    with Client(server.rest_url) as rest, GrpcClient(server.grpc_target) as grpc_client:
        for client in (rest, grpc_client):
            assert client.predict(large, model="stub", top_k=1)[0].label == "class 0"


def test_what_a_split_refuses(server: Server, manager: ManagementClient) -> None:
    manager.set_split("stub", {"1.0": 100})
    with pytest.raises(
        ModelNotFound, match=r"stub 3.0 is not served; stub 1.0, stub 2.0, stub 9.0 is"
    ):
        manager.set_split("stub", {"1.0": 90, "3.0": 10})
    with pytest.raises(ModelNotFound, match=r"stub 3.0 is not served"):
        manager.set_split("stub", {"1.0": 100}, shadow={"3.0": 10})
    with pytest.raises(ClientError, match="must sum to 100 percent, not 90"):
        manager.set_split("stub", {"1.0": 90})
    assert [split["weights"] for split in manager.splits()] == [{"1.0": 100}]
    manager.set_split("stub", {"1.0": 90, "2.0": 10})
    with pytest.raises(Conflict, match=r"stub 2.0 has a place in the split of stub: `marina split"):
        manager.unregister("stub", "2.0")
    manager.clear_split("stub")
    manager.scale("stub", "2.0", 0)
    try:
        with pytest.raises(Conflict, match=r"stub 2.0 is not ready: 0 of 0 workers are"):
            manager.set_split("stub", {"1.0": 90, "2.0": 10})
    finally:
        manager.scale("stub", "2.0", 1)


def test_readiness_and_ping_pass(server: Server) -> None:
    with httpx.Client(base_url=server.rest_url, trust_env=False, timeout=30) as http:
        assert http.get("/ready").json() == {"status": "ready"}
        assert http.get("/ping").json() == {"status": "Healthy"}
        assert http.get("/models").status_code == 404


def test_metrics_listen_where_a_scrape_comes(server: Server) -> None:
    urls = json.loads((server.log_dir / "serve.json").read_text())["urls"]
    for name, series in (("metrics", "ts_"), ("gateway_metrics", "envoy_http_downstream_rq_total")):
        assert urls[name].startswith("http://127.0.0.2:")
        with httpx.Client(trust_env=False, timeout=30) as http:
            assert series in http.get(urls[name]).raise_for_status().text


def test_a_full_queue_is_429(server: Server) -> None:
    """TorchServe itself says 503, or INTERNAL, and that there is no worker."""
    with (
        httpx.Client(trust_env=False, timeout=60) as http,
        GrpcClient(server.grpc_target, retry=Retry(attempts=1)) as over_grpc,
        ThreadPoolExecutor(8) as pool,
    ):
        url = f"{server.rest_url}/predictions/stub/9.0"
        slow = [pool.submit(http.post, url, content=b"sleep 0.5") for _ in range(8)]
        answers = [each.result() for each in slow]
        assert {answer.status_code for answer in answers} == {200, 429}
        full = next(answer for answer in answers if answer.status_code == 429)
        assert full.json()["type"] == "QueueFullException"
        assert full.headers["retry-after"] == "1"
        asked = [pool.submit(over_grpc.predict, b"sleep 0.5", "stub", "9.0") for _ in range(8)]
        assert {type(each.exception()) for each in asked} == {type(None), QueueFull}


def test_a_version_without_workers_is_503(server: Server, manager: ManagementClient) -> None:
    """TorchServe says of it what it says of a full queue; Marina knows better."""
    manager.scale("stub", "9.0", 0)
    try:
        with (
            httpx.Client(trust_env=False, timeout=60) as http,
            GrpcClient(server.grpc_target, retry=Retry(attempts=1)) as over_grpc,
        ):
            answer = http.post(f"{server.rest_url}/predictions/stub/9.0", content=b"x")
            assert answer.json()["type"] == "NoWorkerException"
            assert answer.json()["code"] == answer.status_code == 503
            with pytest.raises(NotReady, match="no worker of this model is ready") as caught:
                over_grpc.predict(b"x", "stub", "9.0")
            assert not isinstance(caught.value, QueueFull)
            assert ask_rest(server, http) == "1.0"
    finally:
        manager.scale("stub", "9.0", 1)


def test_the_verbs(server: Server, manager: ManagementClient) -> None:
    def run(*words: str, code: int = 0) -> str:
        at = ["--log-dir", str(server.log_dir)] if words[0] == "verify" else ["--url", url]
        done = CliRunner().invoke(app, ["split", *words, *at])
        assert done.exit_code == code, done.output
        return done.output

    url = server.management_url
    words = ("1.0=50", "2.0=50", "--shadow", "9.0=0%", "--sticky-header", "x-user-id", "--json")
    made = json.loads(run("set", "stub", *words))
    assert made["weights"] == {"1.0": 50, "2.0": 50}
    assert (made["sticky_header"], made["shadow"]) == ("x-user-id", {"9.0": 0})
    assert "1.0=50  2.0=50" in run("show")
    assert "nothing to verify" in run("verify", "stub")
    time.sleep(0.2)  # from then on requests count
    with httpx.Client(trust_env=False, timeout=60) as http:
        for number in range(60):
            ask_rest(server, http, **{"x-user-id": f"user {number}"})
    wait_until(lambda: "60" in run("verify", "stub"))
    assert "the traffic is split as declared: of 60 requests" in run("verify", "stub").replace(
        "\n", " "
    )
    file = server.log_dir / "splits.json"
    file.write_text(file.read_text().replace("50.0", "10.0", 1).replace("50.0", "90.0", 1))
    assert "NOT split as declared" in run("verify", "stub", code=9)
    assert run("clear", "stub") == "stub: the default version answers\n"
    assert "no splits" in run("show")


@pytest.mark.parametrize("name", ["envoy", "java"])
def test_a_part_is_killed_and_comes_back(
    server: Server, manager: ManagementClient, name: str
) -> None:
    """The split holds on; TorchServe comes back on other ports."""
    manager.set_split("stub", {"1.0": 0, "2.0": 100})
    children = psutil.Process().children(recursive=True)
    killed = next(process for process in children if process.name() == name)
    killed.kill()
    killed.wait(10)
    with httpx.Client(trust_env=False, timeout=30) as http, GrpcClient(server.grpc_target) as ours:
        wait_until(lambda: _mended(server, http), 120)
        assert ask_rest(server, http) == "2.0"
        assert ask_grpc(ours) == "2.0"


def _mended(server: Server, http: httpx.Client) -> bool:
    """Let the server mend itself, as `Server.wait` does, and tell whether it answers."""
    server._supervisor.step()
    try:
        return http.get(f"{server.rest_url}/ready").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_split_is_there_after_a_restart(
    gateway_folder: Path, server: Server, manager: ManagementClient, tmp_path: Path
) -> None:
    manager.set_split("stub", {"1.0": 0, "2.0": 100}, sticky_header="x-user-id")
    (tmp_path / "splits.json").write_bytes((server.log_dir / "splits.json").read_bytes())
    config = gateway_config(gateway_folder)
    with (
        pytest.raises(ServeError, match=r"sends requests to version 2.0, which is not served"),
        running(config, resolve(["stub-1.0.mar"], gateway_folder), log_dir=tmp_path),
    ):
        pass
    with (
        running(
            config, resolve(["stub-2.0.mar", "stub-1.0.mar"], gateway_folder), log_dir=tmp_path
        ) as again,
        ManagementClient(again.management_url) as its_manager,
        httpx.Client(trust_env=False, timeout=30) as http,
    ):
        assert its_manager.splits() == manager.splits()
        assert ask_rest(again, http) == "2.0"
