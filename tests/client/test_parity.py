"""REST and gRPC, waiting and awaiting, say the same of every image: on a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pictures import faults, good, turned
from serve.conftest import free_config
from tiny import LABELS, REPO, tiny_archive

from marina.client import Client, GrpcClient
from marina.errors import (
    BadImage,
    BadRequest,
    ClientError,
    ModelNotFound,
    NotOffered,
    TooLarge,
    UnsupportedMedia,
)
from marina.serve import Server, resolve, running

from .conftest import connect

pytestmark = pytest.mark.slow

BY_STATUS = {400: BadImage, 413: TooLarge, 415: UnsupportedMedia}
KINDS = ("REST", "async REST", "gRPC", "async gRPC")
MAX_BYTES = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("parity")
    archives = [
        tiny_archive(folder, "resnet", explanations=True),
        tiny_archive(folder, "mute", explanations=False),
    ]
    free = free_config(folder)
    config = replace(free, max_request_bytes=MAX_BYTES, tokens=True)
    models = resolve([str(file) for file in archives], folder)
    with running(config, models, log_dir=folder / "logs") as server:
        yield server


def client_of(server: Server, kind: str) -> Any:
    is_grpc = kind.endswith("gRPC")
    address = server.grpc_target if is_grpc else server.rest_url
    token = server.log_dir / "key_file.json"
    return connect(address, is_grpc=is_grpc, is_async=kind.startswith("async"), token=token)


GOOD = {
    **{name: data for name, (data, *_) in good().items()},
    **{
        f"{kind} orientation {orientation}": turned(kind, orientation)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF")
        for orientation in range(1, 9)
    },
}
MATRIX = {**GOOD, **{name: data for name, (data, _) in faults().items()}}


@pytest.fixture(scope="module")
def outcomes(server: Server) -> dict[str, dict[str, Any]]:
    """What each client says of each image, by client and image."""
    found = {}
    for kind in KINDS:
        with client_of(server, kind) as client:
            answers = client.predict_many(MATRIX.values(), model="resnet", top_k=99, concurrency=6)
            found[kind] = dict(zip(MATRIX, answers, strict=True))
    return found


@pytest.mark.parametrize("name", GOOD)
def test_every_image_is_answered_alike(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    def shown(kind: str) -> dict[str, float]:
        return {each.label: each.probability for each in outcomes[kind][name]}

    first = shown("REST")
    assert sorted(first) == sorted(LABELS)
    for kind in KINDS:
        assert shown(kind) == pytest.approx(first, abs=1e-5), kind


@pytest.mark.parametrize("name", faults())
def test_every_fault_is_the_same_error(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    status = faults()[name][1]
    for kind in KINDS:
        error = outcomes[kind][name]
        assert type(error) is BY_STATUS[status], (kind, error)
        assert (error.status, str(error)) == (status, str(outcomes["REST"][name])), kind
        assert error.request_id


@pytest.mark.parametrize(
    ("model", "version", "error"),
    [("none", None, ModelNotFound), ("resnet", "9", ModelNotFound), ("mute", None, NotOffered)],
)
def test_what_is_not_there_is_the_same_error(
    server: Server, model: str, version: str | None, error: type[ClientError]
) -> None:
    said = set()
    for kind in KINDS:
        with client_of(server, kind) as client, pytest.raises(error) as caught:
            client.explain(MATRIX["PNG RGB"], model, version)
        said.add((type(caught.value), caught.value.status, str(caught.value)))
    assert len(said) == 1, said


def test_a_wrong_option_is_the_same_error(server: Server) -> None:
    said = set()
    for kind in KINDS:
        with client_of(server, kind) as client, pytest.raises(BadRequest) as caught:
            client.predict(MATRIX["PNG RGB"], "resnet", top_k=0)
        said.add((type(caught.value), caught.value.status, str(caught.value)))
    assert said == {(BadRequest, 400, "X-Marina-Top-K must be a whole number of at least 1")}


def test_too_many_bytes_are_the_same_kind_of_error(server: Server) -> None:
    """TorchServe says nothing over REST and hangs up over gRPC: the words are the clients' own."""
    for kind in KINDS:
        with client_of(server, kind) as client, pytest.raises(TooLarge) as caught:
            client.predict(bytes(MAX_BYTES + 1), "resnet")
        assert caught.value.status == 413, kind


def test_explanations_are_alike(server: Server) -> None:
    explained = []
    for kind in KINDS:
        with client_of(server, kind) as client:
            explained.append(client.explain(MATRIX["PNG RGB"], "resnet"))
            best = client.predict(MATRIX["PNG RGB"], "resnet")[0]
            assert (explained[-1].label, explained[-1].index) == (best.label, best.index)
    assert explained[0].heatmap.startswith(b"\x89PNG")
    assert {(each.label, each.version, each.heatmap) for each in explained} == {
        (explained[0].label, "1.0", explained[0].heatmap)
    }


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority per thread")
def test_no_thread_that_serves_keeps_the_priority_that_it_was_loaded_with(
    server: Server, outcomes: dict[str, dict[str, Any]]
) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    (worker,) = server._engine.management.ready_workers("resnet", "1.0", after=0)
    assert outcomes
    for thread in Path(f"/proc/{worker}/task").iterdir():
        assert os.getpriority(os.PRIO_PROCESS, int(thread.name)) == own


def test_readiness_is_alike(server: Server) -> None:
    for kind in KINDS:
        with client_of(server, kind) as client:
            assert client.ready(), kind


def test_one_client_serves_many_threads(server: Server) -> None:
    """And each thread gets its own image's answer, not another's."""
    images = 2 * list(GOOD.values())
    for kind, address in ((Client, server.rest_url), (GrpcClient, server.grpc_target)):
        with kind(address, token=server.log_dir / "key_file.json") as client:
            alone = [client.predict(image, "resnet", top_k=1)[0] for image in images[: len(GOOD)]]
            together = client.predict_many(images, "resnet", top_k=1, concurrency=8)
        for place, answer in enumerate(together):
            assert not isinstance(answer, ClientError)
            expected = alone[place % len(alone)]
            assert answer[0].label == expected.label
            assert answer[0].probability == pytest.approx(expected.probability, abs=1e-5)


def test_the_readmes_program(server: Server) -> None:
    """As it stands there, but for the ports; it prints nothing of a good image."""
    section = (REPO / "README.md").read_text().split("\n## From Python\n")[1].split("\n## ")[0]
    [program] = re.findall(r"```python\n(.*?)```", section, re.S)
    program = program.replace("http://127.0.0.1:8080", server.rest_url)
    program = program.replace("http://127.0.0.1:8081", server.management_url)
    folder = server.log_dir.parent
    images = folder / "data" / "digits" / "test"
    images.mkdir(parents=True)
    for file in (folder / "digit.png", images / "good.png"):
        file.write_bytes(MATRIX["PNG RGB"])
    (images / "bad.png").write_bytes(b"no image")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    bad, told = done.stdout.splitlines()
    assert re.fullmatch("BadImage 400 [0-9a-f]{32}", bad)
    assert told.startswith("Readiness(is_ready=True, reason='') [ModelStatus(name=")
    assert (folder / "why.png").read_bytes().startswith(b"\x89PNG")
