"""The gRPC client against a small gRPC server that says what TorchServe says."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from grpc import StatusCode

from marina.client import GrpcClient, Prediction
from marina.errors import (
    BadImage,
    ClientError,
    ConnectionFailed,
    ConnectionRefused,
    DeadlineExceeded,
    ModelNotFound,
    NotOffered,
    QueueFull,
    ServerFault,
    TooLarge,
    Unauthorized,
)

from .conftest import Script

Grpc = tuple[GrpcClient, Script]
PACKAGE = "org.pytorch.serve"


def test_predictions_come_in_the_servers_order(over_grpc: Grpc) -> None:
    client, _ = over_grpc
    assert client.predict(b"image") == [Prediction("seven", 7, 0.75), Prediction("one", 1, 0.25)]


def test_a_request_names_model_version_and_options(over_grpc: Grpc) -> None:
    client, script = over_grpc
    client.predict(b"image", model="resnet", version="1.0", top_k=3)
    request, metadata = script.requests[0]
    assert (request.model_name, request.model_version) == ("resnet", "1.0")
    assert dict(request.input) == {
        "data": b"image",
        "x-marina-format": b"detailed",
        "x-marina-top-k": b"3",
        "x-request-id": metadata["x-request-id"].encode(),
    }


def test_an_error_in_an_answer_that_is_ok(over_grpc: Grpc) -> None:
    client, script = over_grpc
    body = {"code": 400, "type": "BadImageException", "message": "expected an image"}
    script.body = json.dumps(body).encode()
    with pytest.raises(BadImage, match=r"^expected an image$") as caught:
        client.predict(b"no image")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("code", "details", "error", "status"),
    [
        (
            StatusCode.INTERNAL,
            f"Model not found: x\n{PACKAGE}.archive.model.ModelNotFoundException",
            ModelNotFound,
            404,
        ),
        (
            StatusCode.INTERNAL,
            f"Version: 9\n{PACKAGE}.archive.model.ModelVersionNotFoundException",
            ModelNotFound,
            404,
        ),
        (
            StatusCode.INTERNAL,
            'Model "x" has no worker to serve\nInternalServerException.()',
            QueueFull,
            429,
        ),
        (
            StatusCode.UNAVAILABLE,
            f"Prediction failed\n{PACKAGE}.http.InternalServerException",
            ServerFault,
            503,
        ),
        (StatusCode.CANCELLED, "Stream removed (RST_STREAM)", TooLarge, 413),
        (StatusCode.PERMISSION_DENIED, "Token Authorization failed.", Unauthorized, 401),
        (StatusCode.UNIMPLEMENTED, "", NotOffered, 501),
        (StatusCode.UNAVAILABLE, "Connection reset by peer", ConnectionFailed, None),
        (StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max", TooLarge, 413),
        (StatusCode.UNKNOWN, "", ServerFault, 500),
        (StatusCode.UNKNOWN, "what is this", ServerFault, 500),
    ],
)
def test_what_torchserve_says(
    over_grpc: Grpc, code: StatusCode, details: str, error: type[ClientError], status: int | None
) -> None:
    client, script = over_grpc
    script.status, script.body = code, details.encode()
    with pytest.raises(error) as caught:
        client.predict(b"image")
    assert type(caught.value) is error
    assert caught.value.status == status
    assert PACKAGE not in str(caught.value)


def test_a_server_that_does_not_answer(over_grpc: Grpc) -> None:
    client, script = over_grpc
    script.delay = threading.Event()
    with pytest.raises(DeadlineExceeded, match=r"no answer from .* within 1\.5 s"):
        client.predict(b"image")


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{closed.getsockname()[1]}"
    with (
        GrpcClient(target) as client,
        pytest.raises(ConnectionRefused, match=f"cannot reach {target}"),
    ):
        client.predict(b"image")


def test_someone_listens_who_does_not_speak_grpc() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with (
            GrpcClient(target, connect_timeout_s=0.5, read_timeout_s=10) as client,
            pytest.raises(ConnectionFailed, match=f"cannot reach {target}"),
        ):
            client.predict(b"image")
        assert time.monotonic() - started < 5


def test_a_proxy_is_not_asked_for_the_loopback(
    over_grpc: Grpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = over_grpc
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert client.predict(b"image")[0].label == "seven"
