"""What all four clients do alike: over REST and gRPC, waiting and awaiting."""

from __future__ import annotations

import base64
import inspect
import io
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from marina import client as package
from marina.client import (
    AsyncClient,
    AsyncGrpcClient,
    Client,
    Explanation,
    GrpcClient,
    Options,
    Prediction,
    Readiness,
    Tls,
)
from marina.client.options import OptionFields
from marina.errors import (
    BadImage,
    BadRequest,
    ClientError,
    ConnectionRefused,
    DeadlineExceeded,
    NotOffered,
    QueueFull,
    ServerFault,
    TooLarge,
    Unauthorized,
)

from .conftest import SOON, Script, Served, connect, http_server

GOOD = [Prediction("seven", 7, 0.75), Prediction("one", 1, 0.25)]
METHODS = ("predict", "predict_many", "explain", "ready", "models", "close")


def request_id_of(served: Served) -> str:
    """The id that the last request carried."""
    request = served.script.requests[-1]
    return str(request[1]["x-request-id"] if served.is_grpc else request[1]["X-Request-Id"])


def image_of(request: tuple[Any, ...]) -> bytes:
    return bytes(request[2] if len(request) == 3 else request[0].input["data"])


def answer_full_queue(served: Served) -> None:
    if served.is_grpc:
        served.script.status = StatusCode.INTERNAL
        served.script.body = b'Model "resnet" has no worker to serve\nInternalServerException.()'
    else:
        served.script.fail(503, "ServiceUnavailableException", 'Model "resnet" has no worker')


def answer_fault(served: Served) -> None:
    served.script.status = StatusCode.UNAVAILABLE if served.is_grpc else 503
    if served.is_grpc:
        served.script.body = b"Prediction failed\norg.pytorch.serve.http.InternalServerException"
    else:
        served.script.fail(503, "InternalServerException", "Prediction failed")


@pytest.mark.parametrize("method", METHODS)
def test_the_clients_have_the_same_methods(method: str) -> None:
    def signature(kind: type) -> list[Any]:
        return list(inspect.signature(getattr(kind, method)).parameters.values())

    waiting = signature(Client)
    assert signature(GrpcClient) == waiting
    assert signature(AsyncClient) == signature(AsyncGrpcClient) == waiting


def test_what_is_exported_is_there() -> None:
    assert all(hasattr(package, name) for name in package.__all__)


def test_every_option_is_a_keyword() -> None:
    assert OptionFields.__annotations__.keys() == Options.__dataclass_fields__.keys()


def test_an_image_comes_in_every_form(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"image")
    with served.client() as client:
        for image in (b"image", str(file), file, io.BytesIO(b"image")):
            assert client.predict(image) == GOOD
    assert [image_of(request) for request in served.script.requests] == 4 * [b"image"]


def test_many_come_back_in_order_each_with_its_own_error(served: Served, tmp_path: Path) -> None:
    with served.client(max_message_bytes=1000) as client:
        good, missing, large, last = client.predict_many(
            iter([b"0", tmp_path / "none.png", b"x" * 1001, b"3"]), concurrency=3
        )
    assert (good, last) == (GOOD, GOOD)
    assert (type(missing), type(large)) == (ClientError, TooLarge)
    assert {image_of(request) for request in served.script.requests} == {b"0", b"3"}


def test_many_are_on_their_way_at_once(served: Served) -> None:
    """Each request waits until three are there, so that two at a time would wait for ever."""
    together = threading.Barrier(3)

    class Gate(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            together.wait(10)
            return True

    served.script.delay = Gate()
    with served.client() as client:
        assert client.predict_many([b"a", b"b", b"c"], concurrency=3) == 3 * [GOOD]


def test_what_is_no_image_ends_them_all(served: Served) -> None:
    with served.client() as client, pytest.raises(TypeError, match="expected bytes"):
        client.predict_many([b"0", 1])


def test_nothing_is_predicted_of_nothing(served: Served) -> None:
    with served.client() as client:
        assert client.predict_many([]) == []


def test_a_full_queue_is_tried_again(served: Served) -> None:
    answer_full_queue(served)
    served.script.failures = 2
    with served.client() as client:
        assert client.predict(b"image") == GOOD
    assert len(served.script.requests) == 3
    ids = {
        request[1]["x-request-id" if served.is_grpc else "X-Request-Id"]
        for request in served.script.requests
    }
    assert len(ids) == 1  # one request, tried thrice


def test_a_queue_that_stays_full_is_given_up(served: Served) -> None:
    answer_full_queue(served)
    with served.client() as client, pytest.raises(QueueFull) as caught:
        client.predict(b"image")
    assert caught.value.status == 429
    assert len(served.script.requests) == 3


def test_what_the_server_began_is_not_repeated(served: Served) -> None:
    answer_fault(served)
    with served.client() as client, pytest.raises(ServerFault, match="Prediction failed"):
        client.predict(b"image")
    assert len(served.script.requests) == 1


def test_a_late_answer_is_not_asked_for_again(served: Served) -> None:
    served.script.delay = threading.Event()
    with served.client(read_timeout_s=0.5) as client, pytest.raises(DeadlineExceeded) as caught:
        client.predict(b"image")
    assert caught.value.status == 504
    assert len(served.script.requests) == 1


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("is_grpc", [False, True])
def test_a_server_that_is_not_there_yet_is_waited_for(is_grpc: bool, is_async: bool) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    where = address if is_grpc else f"http://{address}"
    with (
        connect(where, is_grpc=is_grpc, is_async=is_async) as client,
        pytest.raises(ConnectionRefused, match=f"cannot reach .*{address} .*refused") as caught,
    ):
        client.predict(b"image", request_id="mine")
    assert (caught.value.status, caught.value.request_id) == (None, "mine")
    with connect(where, is_grpc=is_grpc, is_async=is_async) as client:
        assert not client.ready()
        assert "cannot reach" in client.ready().reason


def test_an_error_names_its_request(served: Served) -> None:
    answer_fault(served)
    with served.client() as client:
        with pytest.raises(ServerFault) as caught:
            client.predict(b"image")
        assert caught.value.request_id == request_id_of(served) != ""
        with pytest.raises(ServerFault) as caught:
            client.predict(b"image", request_id="my-own")
        assert caught.value.request_id == request_id_of(served) == "my-own"
        with pytest.raises(BadRequest, match="a request id is at most 128 visible ASCII"):
            client.predict(b"image", request_id="two\r\nlines")


def test_too_large_an_image_is_not_sent(served: Served) -> None:
    with (
        served.client(max_message_bytes=10) as client,
        pytest.raises(TooLarge, match="at most 10 bytes, got 11"),
    ):
        client.predict(11 * b"x")
    assert served.script.requests == []


def test_an_error_in_an_answer_that_is_ok(served: Served) -> None:
    body = {"code": 400, "type": "BadImageException", "message": "expected an image"}
    served.script.body = json.dumps(body).encode()
    with served.client() as client, pytest.raises(BadImage, match=r"^expected an image$") as caught:
        client.predict(b"no image")
    assert caught.value.status == 400


def test_an_explanation(served: Served) -> None:
    named = {"model": "resnet", "version": "2.0", "label": "seven", "index": 7}
    drawn = {"probability": 0.75, "heatmap": base64.b64encode(b"PNG").decode()}
    served.script.body = json.dumps({**named, **drawn}).encode()
    with served.client() as client:
        explained = client.explain(b"image", version="2.0")
    assert explained == Explanation("resnet", "2.0", "seven", 7, 0.75, b"PNG")
    request = served.script.requests[0]
    if served.is_grpc:
        assert request[0].input["explain"] == b"True"
    else:
        assert request[0] == "/explanations/resnet/2.0"


def test_a_model_that_does_not_explain(served: Served) -> None:
    with (
        served.client() as client,
        pytest.raises(
            NotOffered, match=r'expected an answer with a "heatmap", got .*archive it'
        ) as caught,
    ):
        client.explain(b"image", request_id="mine")
    assert caught.value.request_id == "mine"


@pytest.mark.parametrize(
    ("body", "readiness"),
    [
        (b'{"status": "Healthy"}', Readiness(is_ready=True)),
        (b'{"status": "Partial Healthy"}', Readiness(False, "the server says Partial Healthy")),
        (b"[]", Readiness(False, "the server says '[]'")),
    ],
)
def test_without_a_url_of_its_own_readiness_is_a_ping(
    served: Served, body: bytes, readiness: Readiness
) -> None:
    served.script.body = body
    with served.client() as client:
        assert client.ready() == readiness


def test_readiness_is_asked_where_it_is_known(served: Served) -> None:
    known = Script(200, b"{}", token="secret")
    with (
        http_server(known) as url,
        served.client(ready_url=f"{url}/ready", token="secret") as client,
    ):
        assert client.ready()
        known.fail(503, "NotReady", "resnet 1.0: 0 of 2 workers")
        assert client.ready() == Readiness(False, "resnet 1.0: 0 of 2 workers")
    assert {request[0] for request in known.requests} == {"/ready"}
    assert served.script.requests == []


def test_models_need_the_management_api(served: Served) -> None:
    with (
        served.client() as client,
        pytest.raises(ClientError, match=r"no address of the management API: .* management="),
    ):
        client.models()


def key_file(folder: Path, inference: str) -> Path:
    """Write a token file as TorchServe does."""
    keys = {"management": {"key": "m"}, "inference": {"key": inference}, "API": {"key": "a"}}
    file = folder / "key_file.json"
    file.write_text(json.dumps(keys))
    return file


def test_a_token_is_shown(served: Served) -> None:
    served.script.token = "right"
    with served.client(token="right") as client:
        assert client.predict(b"image") == GOOD
    with served.client() as client, pytest.raises(Unauthorized, match="shows none") as caught:
        client.predict(b"image")
    assert caught.value.status == 401
    with served.client(token="wrong") as client, pytest.raises(Unauthorized, match="of the moment"):
        client.predict(b"image")
    assert len(served.script.requests) == 3  # a token that cannot change is not tried twice


def test_a_token_that_has_expired_is_read_again(served: Served, tmp_path: Path) -> None:
    file = key_file(tmp_path, "first")
    served.script.token = "first"
    with served.client(token=file) as client:
        assert client.predict(b"image") == GOOD
        served.script.token = "second"
        key_file(tmp_path, "second")
        assert client.predict(b"image") == GOOD
        served.script.token = "third"  # and the file is not rewritten
        with pytest.raises(Unauthorized, match=r"the one in .*key_file\.json has expired"):
            client.predict(b"image")
    assert len(served.script.requests) == 4


def test_a_token_may_come_from_a_function(served: Served) -> None:
    tokens = iter(["stale", "fresh"])
    served.script.token = "fresh"
    with served.client(token=lambda: next(tokens)) as client:
        assert client.predict(b"image") == GOOD
        assert client.predict(b"image") == GOOD
    assert len(served.script.requests) == 3


def test_a_missing_token_file_is_named(served: Served, tmp_path: Path) -> None:
    with (
        served.client(token=tmp_path / "key_file.json") as client,
        pytest.raises(ClientError, match=r"cannot read the token file .*key_file\.json: No such"),
    ):
        client.predict(b"image")


def test_tls_files_are_looked_at_when_the_client_is_made(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"expected a PEM file, there is none at .*ca\.pem"):
        Tls(ca=tmp_path / "ca.pem")
    (tmp_path / "ca.pem").write_text("no PEM")
    with pytest.raises(ClientError, match="needs its key and a key its certificate"):
        Tls(certificate=tmp_path / "ca.pem")
    tls = Tls(ca=tmp_path / "ca.pem")
    with pytest.raises(ClientError, match=r"expected certificates .* in PEM: .*ca\.pem"):
        Client("https://127.0.0.1:1", tls=tls)
    with pytest.raises(ClientError, match=r"expected certificates .* in PEM: .*ca\.pem"):
        GrpcClient("127.0.0.1:1", tls=tls)


def test_a_client_is_shared_by_threads(served: Served) -> None:
    if served.is_async:
        pytest.skip("an asyncio client belongs to one event loop")
    with served.client(retry=SOON) as client:
        assert client.predict_many(200 * [b"image"], concurrency=16) == 200 * [GOOD]
    assert len(served.script.requests) == 200
