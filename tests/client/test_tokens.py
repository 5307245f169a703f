"""Tokens, with a real TorchServe: absent, rotated, expired."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.archives import make_archive

from marina.client import Retry
from marina.client.token import read_key_file
from marina.errors import ClientError, Unauthorized
from marina.serve.java import java_home
from marina.serve.ports import free_ports

from .conftest import connect

pytestmark = pytest.mark.slow

LIFETIME_S = 6
PORTS = ("inference", "management", "metrics", "grpc_inference", "grpc_management")
CONFIG = """\
inference_address=http://127.0.0.1:{inference}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
grpc_inference_address=127.0.0.1
grpc_inference_port={grpc_inference}
grpc_management_address=127.0.0.1
grpc_management_port={grpc_management}
disable_token_authorization=false
token_expiration_min={minutes}
"""


@dataclass(frozen=True)
class Guarded:
    """A TorchServe that wants tokens.

    Attributes:
        ports: By name.
        key_file: Where it writes its tokens.
    """

    ports: dict[str, int]
    key_file: Path

    def client(self, kind: str, **options: Any) -> Any:
        is_grpc, is_async = kind.endswith("gRPC"), kind.startswith("async")
        prefix, scheme = ("grpc_", "") if is_grpc else ("", "http://")
        inference, management = (
            f"{scheme}127.0.0.1:{self.ports[prefix + api]}" for api in ("inference", "management")
        )
        options = {"management": management, **options}
        return connect(inference, is_grpc=is_grpc, is_async=is_async, **options)

    def rotate(self, side: str) -> None:
        """Let it make a new token, as an operator does."""
        key = json.loads(self.key_file.read_text())["API"]["key"]
        answer = httpx.get(
            f"http://127.0.0.1:{self.ports['management']}/token",
            params={"type": side},
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text


def wait_for(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A plain TorchServe with tokens that last for seconds."""
    folder = tmp_path_factory.mktemp("guarded")
    archive = make_archive(folder)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    (folder / "config").write_text(CONFIG.format(**ports, minutes=LIFETIME_S / 60))
    (folder / "tmp").mkdir()
    command = [
        *(Path(sys.executable).parent / "torchserve", "--start", "--foreground", "--ncs"),
        *("--model-store", folder, "--models", f"stub={archive.name}"),
        *("--ts-config", folder / "config"),
    ]
    environment = {**os.environ, "JAVA_HOME": str(java_home()), "TMPDIR": str(folder / "tmp")}
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    server = Guarded(ports, folder / "key_file.json")
    try:
        wait_for(server.key_file.exists)
        with server.client("REST", token=server.key_file) as client:
            wait_for(lambda: answers(client, server))
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(client: Any, server: Guarded) -> bool:
    try:
        return bool(client.predict(b"image", model="stub"))
    except Unauthorized:
        server.rotate("inference")  # the worker may take longer to load than the token lasts
    except ClientError:
        pass
    return False


@pytest.fixture(params=["REST", "async REST", "gRPC", "async gRPC"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_without_a_token_nothing_is_told(guarded: Guarded, kind: str) -> None:
    with guarded.client(kind) as client:
        for ask in (lambda: client.predict(b"image", model="stub"), client.ready, client.models):
            with pytest.raises(Unauthorized, match=r"Authorization failed.*token=") as caught:
                ask()
            assert (caught.value.status, bool(caught.value.request_id)) == (401, True)


def test_a_wrong_token_is_as_good_as_none(guarded: Guarded, kind: str) -> None:
    with guarded.client(kind, token="wrong") as client, pytest.raises(Unauthorized):
        client.predict(b"image", model="stub")


def test_a_token_is_of_its_own_side(guarded: Guarded, kind: str) -> None:
    guarded.rotate("inference")
    with guarded.client(kind, token=read_key_file(guarded.key_file, "inference")) as client:
        assert client.predict(b"image", model="stub")[0].label == "class 1"
        with pytest.raises(Unauthorized):
            client.models()


def test_a_rotated_token_is_taken_up(guarded: Guarded, kind: str) -> None:
    with guarded.client(kind, token=guarded.key_file) as client:
        for _ in range(3):
            guarded.rotate("inference")
            guarded.rotate("management")
            assert client.predict(b"image", model="stub")[0].label == "class 1"
            assert client.ready()
            [model] = client.models()
            assert (model.name, model.version, model.is_default) == ("stub", "1.0", True)
            assert (model.ready_workers, model.workers) == (1, 1)


def test_no_request_is_lost_to_a_rotation(guarded: Guarded, kind: str) -> None:
    """TorchServe changes its token before it has written the file, and writes it in place."""
    rotating = threading.Event()

    def rotate() -> None:
        while not rotating.wait(0.2):
            guarded.rotate("inference")

    turner = threading.Thread(target=rotate)
    turner.start()
    try:
        with guarded.client(kind, token=guarded.key_file) as client:
            outcomes = client.predict_many(400 * [b"image"], model="stub", concurrency=4)
    finally:
        rotating.set()
        turner.join()
    assert [outcome for outcome in outcomes if isinstance(outcome, ClientError)] == []


def test_an_expired_token_is_refused_until_there_is_another(guarded: Guarded) -> None:
    guarded.rotate("inference")
    clients = [
        guarded.client(kind, token=guarded.key_file, retry=Retry(attempts=1))
        for kind in ("REST", "gRPC")
    ]
    for client in clients:
        assert client.predict(b"image", model="stub")
    time.sleep(LIFETIME_S + 1)
    for client in clients:
        with pytest.raises(Unauthorized, match=r"the one in .*key_file\.json has expired"):
            client.predict(b"image", model="stub")
    guarded.rotate("inference")
    for client in clients:
        assert client.predict(b"image", model="stub")
        client.close()
