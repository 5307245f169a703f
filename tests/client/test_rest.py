"""The REST client against a small HTTP server."""

from __future__ import annotations

import socket
import ssl
import threading

import httpx
import pytest

from marina.client import Client, Prediction
from marina.errors import (
    BadImage,
    BadRequest,
    ClientError,
    Conflict,
    ConnectionFailed,
    ConnectionRefused,
    DeadlineExceeded,
    ModelNotFound,
    NotOffered,
    NotReady,
    QueueFull,
    ServerFault,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)

from .conftest import Script, connect

Rest = tuple[Client, Script]


def test_predictions_come_in_the_servers_order(rest: Rest) -> None:
    client, _ = rest
    assert client.predict(b"image") == [Prediction("seven", 7, 0.75), Prediction("one", 1, 0.25)]


def test_a_request_names_model_version_and_options(rest: Rest) -> None:
    client, script = rest
    client.predict(b"image", model="resnet", version="1.0+cpu", top_k=3)
    path, headers, body = script.requests[0]
    assert (path, body) == ("/predictions/resnet/1.0%2Bcpu", b"image")
    assert headers["X-Marina-Format"] == "detailed"
    assert headers["X-Marina-Top-K"] == "3"
    assert headers["Content-Type"] == "application/octet-stream"


def test_without_version_and_top_k_the_server_decides(rest: Rest) -> None:
    client, script = rest
    client.predict(b"image")
    path, headers, _ = script.requests[0]
    assert path == "/predictions/resnet"
    assert "X-Marina-Top-K" not in headers


def test_a_models_name_cannot_leave_its_place_in_the_path(rest: Rest) -> None:
    client, script = rest
    client.predict(b"image", model="../models/x?y")
    assert script.requests[0][0] == "/predictions/..%2Fmodels%2Fx%3Fy"
    with pytest.raises(ModelNotFound, match=r"no version is called '\.\.'"):
        client.predict(b"image", model="resnet", version="..")


@pytest.mark.parametrize(
    ("status", "type_", "error"),
    [
        (400, "BadImageException", BadImage),
        (400, "BadRequestException", BadRequest),
        (403, "ExplanationsOffException", NotOffered),
        (405, "MethodNotAllowedException", NotOffered),
        (409, "ConflictStatusException", Conflict),
        (404, "ModelNotFoundException", ModelNotFound),
        (413, "ImageTooLargeException", TooLarge),
        (415, "UnsupportedMediaTypeException", UnsupportedMedia),
        (418, "", BadRequest),
        (429, "", QueueFull),
        (500, "InternalServerException", ServerFault),
        (503, "", NotReady),
        (503, "InternalServerException", ServerFault),
        (504, "", DeadlineExceeded),
        (507, "InternalServerException", ServerFault),
    ],
)
def test_each_status_is_an_error_of_its_own(
    rest: Rest, status: int, type_: str, error: type[ClientError]
) -> None:
    client, script = rest
    script.fail(status, type_, "what the server says")
    with pytest.raises(error, match=r"^what the server says$") as caught:
        client.predict(b"image")
    assert type(caught.value) is error
    assert caught.value.status == status
    assert caught.value.request_id == script.requests[0][1]["X-Request-Id"]


@pytest.mark.parametrize(
    ("status", "type_", "error", "meant"),
    [
        (400, "InvalidKeyException", Unauthorized, 401),
        (503, "ServiceUnavailableException", QueueFull, 429),
    ],
)
def test_where_torchserves_status_misleads_the_errors_own_holds(
    rest: Rest, status: int, type_: str, error: type[ClientError], meant: int
) -> None:
    client, script = rest
    script.fail(status, type_, "what the server says")
    with pytest.raises(error, match=r"^what the server says") as caught:
        client.predict(b"image")
    assert caught.value.status == meant


def test_an_empty_error_is_named_by_its_status(rest: Rest) -> None:
    client, script = rest
    script.status, script.body = 413, b""
    with pytest.raises(TooLarge, match=r"413 .*Too Large$"):
        client.predict(b"image")


def test_an_error_that_is_no_json_is_quoted(rest: Rest) -> None:
    client, script = rest
    script.status, script.body = 502, b"<html>" + 300 * b"x"
    with pytest.raises(ServerFault, match=r"502 Bad Gateway: '<html>x+…'$"):
        client.predict(b"image")


def test_an_answer_of_another_handler_is_refused(rest: Rest) -> None:
    client, script = rest
    script.body = b'{"seven": 0.75}'
    with pytest.raises(ServerFault, match="Only models archived by `marina archive`"):
        client.predict(b"image")


def test_a_server_that_does_not_answer(rest: Rest) -> None:
    client, script = rest
    script.delay = threading.Event()
    with pytest.raises(DeadlineExceeded, match=r"no answer from .* within 0\.5 s") as caught:
        client.predict(b"image")
    assert caught.value.status == 504


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with (
        Client(url) as client,
        pytest.raises(ConnectionRefused, match=rf"cannot reach {url} \(Connection refused\)") as e,
    ):
        client.predict(b"image")
    assert e.value.status is None
    assert e.value.exit_code == 8


def test_no_url() -> None:
    with pytest.raises(ClientError, match=r"expected a URL such as .*, not '127\.0\.0\.1:8080'"):
        Client("127.0.0.1:8080")


def test_a_proxy_is_not_asked_for_the_loopback(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = rest
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert client.predict(b"image")[0].label == "seven"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_certificate_that_is_refused_after_the_handshake(
    is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", refuse)
    with (
        connect("https://127.0.0.1:9", is_grpc=False, is_async=is_async) as client,
        pytest.raises(ConnectionFailed, match="unknown ca"),
    ):
        client.predict(b"x", model="m")
