"""What the gateway makes of trouble: limits, deadlines, full queues; and what it logs."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import grpc
import httpx
import pytest

from marina.client import Client, GrpcClient, Retry
from marina.client.proto.inference_pb2 import PredictionsRequest
from marina.errors import (
    BadImage,
    ClientError,
    DeadlineExceeded,
    NotReady,
    QueueFull,
    ServeError,
    TooLarge,
)
from marina.gateway.routes import SERVICE

from .conftest import LIMITS, Door, free_ports, open_door, wait_until
from .stub_upstream import StubUpstream


def error_of(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"code", "type", "message"}
    assert answer.headers["content-type"] == "application/json"
    assert body["code"] == answer.status_code
    return body["code"], body["type"]


def grpc_error_of(door: Door, data: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        door.grpc(data)
    return caught.value.code(), caught.value.details()


def test_a_full_queue(door: Door) -> None:
    answer = door.rest(b"full")
    assert error_of(answer) == (429, "QueueFullException")
    assert answer.headers["retry-after"] == "1"
    code, details = grpc_error_of(door, b"full")
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details.endswith("try again later\nmarina.gateway.QueueFullException")


def test_no_worker_is_no_full_queue(door: Door) -> None:
    """TorchServe says the same of both: Marina is asked, and not for each request."""
    door.split("4.0=100")
    door.upstream.has_worker = False
    door.upstream.asked.clear()
    try:
        for _ in range(20):
            answer = door.rest(b"full")
            assert error_of(answer) == (503, "NoWorkerException")
            assert answer.headers["retry-after"] == "1"
        code, details = grpc_error_of(door, b"full")
        with pytest.raises(NotReady, match="scale it up") as caught, Client(door.url) as client:
            client.predict(b"full", model="m", version="5.0")
    finally:
        door.upstream.has_worker = True
    assert (code, details.rpartition(".")[2]) == (grpc.StatusCode.UNAVAILABLE, "NoWorkerException")
    assert not isinstance(caught.value, QueueFull)
    assert {"/ready/m/4.0", "/ready/m/5.0"} == set(door.upstream.asked)
    assert len(door.upstream.asked) < 20


def test_a_body_that_is_too_large(door: Door) -> None:
    fits = bytes(LIMITS.request_bytes - 1024)
    assert door.rest(fits).status_code == 200
    assert door.grpc(fits) == "1.0"
    assert [len(seen.body) for seen in door.upstream.seen] == [len(fits)] * 2
    large = bytes(LIMITS.request_bytes + 1)
    assert error_of(door.rest(large)) == (413, "PayloadTooLargeException")
    chunked = door.http.post("/predictions/m", content=iter([large[:1000], large]))
    assert error_of(chunked) == (413, "PayloadTooLargeException")
    code, details = grpc_error_of(door, large)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details.endswith("marina.gateway.PayloadTooLargeException")
    assert len(door.upstream.seen) == 2


def test_headers_that_are_too_large(door: Door) -> None:
    answer = door.rest(x_large="x" * (LIMITS.header_kib + 1) * 1024)
    assert error_of(answer) == (431, "HeadersTooLargeException")
    answer = door.rest(**{f"x_{number}": "y" for number in range(LIMITS.headers)})
    assert error_of(answer) == (431, "HeadersTooLargeException")


def test_a_deadline(door: Door) -> None:
    assert error_of(door.rest(b"sleep 4")) == (504, "DeadlineExceededException")
    code, _ = grpc_error_of(door, b"sleep 4")  # it is told the deadline, and may say so first
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_client_cannot_order_envoy(door: Door) -> None:
    headers = {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-max-retries": "5"}
    headers |= {"x-envoy-retry-on": "5xx,reset", "x-envoy-upstream-alt-stat-name": "a"}
    answer = door.http.post("/predictions/m", content=b"sleep 0.1", headers=headers)
    assert answer.status_code == 200
    seen = {name for name in door.upstream.seen[0].headers if name.startswith("x-envoy")}
    assert seen <= {"x-envoy-external-address"}
    assert not [name for name in answer.headers if name.startswith("x-envoy")]


def test_a_request_that_was_sent_is_never_sent_again(door: Door) -> None:
    answer = door.rest(b"hang up")
    assert error_of(answer) == (503, "UpstreamUnavailableException")
    assert answer.headers["retry-after"] == "1"
    assert [seen.body for seen in door.upstream.seen] == [b"hang up"]


def _field(number: int, data: bytes) -> bytes:
    assert len(data) < 128
    return bytes([number * 8 + 2, len(data)]) + data


GROUP = bytes([3 * 8 + 3, 3 * 8 + 4])
LONG_KEY = bytes([0x9B, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01])  # 32 bits of it: GROUP's


@pytest.mark.parametrize(
    ("rest", "is_let_through"),
    [
        (b"", True),
        (_field(3, _field(1, b"key") + _field(2, GROUP)), True),  # a value may be any bytes
        (_field(3, _field(1, b"key") + GROUP), False),
        (_field(3, _field(1, b"key") + LONG_KEY + GROUP[1:]), False),
        (GROUP, False),
        (b"\x12\x7f", False),
    ],
    ids=["plain", "in-a-value", "in-an-entry", "long-key", "at-the-top", "cut-off"],
)
def test_a_message_with_a_group_goes_no_further(
    door: Door, rest: bytes, is_let_through: bool
) -> None:
    """Java's protobuf would read nested ones until its stack is full (CVE-2024-7254)."""
    message = PredictionsRequest(model_name="m", input={"data": b"x"}).SerializeToString() + rest
    call = door.channel.unary_unary(f"{SERVICE}/Predictions")
    if is_let_through:
        call(message, timeout=60)
    else:
        with pytest.raises(grpc.RpcError, match="in protobuf, without groups") as caught:
            call(message, timeout=60)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert bool(door.upstream.seen) is is_let_through


def test_a_request_keeps_its_id(door: Door) -> None:
    """The client's, or one that is made up; TorchServe's own stays behind."""
    for given in ({"x_request_id": "mine"}, {}):
        answer = door.rest(**given)
        request_id = answer.headers["x-request-id"]
        assert request_id == given.get("x_request_id", request_id) != "torchserve-own"
        assert door.upstream.seen[-1].headers["x-request-id"] == request_id
        assert door.line(request_id, "rest")["http_status"] == 200


def test_marinas_own_clients_raise_the_error_that_it_is(door: Door) -> None:
    def errors(body: bytes) -> list[type[Exception]]:
        raised = []
        for kind, where in ((Client, door.url), (GrpcClient, door.target)):
            with (
                kind(where, retry=Retry(attempts=1)) as client,
                pytest.raises(ClientError) as caught,
            ):
                client.predict(body, model="m")
            raised.append(caught.type)
        return raised

    assert errors(b"full") == [QueueFull] * 2
    assert errors(b"sleep 4") == [DeadlineExceeded] * 2
    assert errors(bytes(LIMITS.request_bytes + 1)) == [TooLarge] * 2
    assert errors(b"bad") == [BadImage] * 2


def test_the_log_of_rest(door: Door) -> None:
    answer = door.rest(version="7.5", x_marina_arm="spoofed", x_marina_model="spoofed")
    line = door.line(answer.headers["x-request-id"], "rest")
    expected = {
        "model": "m",
        "asked_version": "7.5",
        "arm": None,
        "version": "7.5",
        "http_status": 200,
        "top1": "class%207.5",
        "confidence": "0.875",
        "path": "/predictions/m/7.5",
    }
    assert {key: line[key] for key in expected} == expected
    assert 0 < line["upstream_us"] <= line["duration_us"]


@pytest.mark.parametrize("form", ["stock", "detailed"])
@pytest.mark.parametrize("label", ["class", 'a "b" \\ c', "naïve, ½", "tab\tline\n\x1f", ""])
def test_the_log_of_grpc(door: Door, form: str, label: str) -> None:
    """TorchServe passes no headers of the handler's: the answer itself is read."""
    door.upstream.label = label
    try:
        request = PredictionsRequest(
            model_name="m",
            model_version="7.5",
            input={"data": b"x", "x-marina-format": form.encode()},
        )
        _, call = door.stub.Predictions.with_call(request, timeout=30)
    finally:
        door.upstream.label = "class {}"
    metadata = dict(call.initial_metadata())
    line = door.line(metadata["x-request-id"], "grpc")
    percent_encoded = "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "_.~-")
        else f"%{byte:02X}"
        for byte in label.encode()
    )  # fmt: skip
    assert (line["top1"] or "") == percent_encoded
    assert line["confidence"] == "0.875"
    assert line["model"] == "m"
    assert line["asked_version"] == "7.5"
    assert line["version"] == ("7.5" if form == "detailed" else None)
    assert line["grpc_status"] == 0


def test_an_error_in_an_answer_of_grpc_is_logged(door: Door) -> None:
    request = PredictionsRequest(model_name="m", input={"data": b"bad"})
    _, call = door.stub.Predictions.with_call(request, timeout=30)
    line = door.line(dict(call.initial_metadata())["x-request-id"], "grpc")
    assert (line["code"], line["top1"]) == (400, None)


def test_an_upstream_that_is_down(tmp_path: Path) -> None:
    """And comes back, as TorchServe does when it is restarted."""
    stub = StubUpstream(rest_port=free_ports(1)[0], grpc_port=free_ports(1)[0])
    with open_door(tmp_path, stub) as door:
        answer = door.rest()
        assert error_of(answer) == (503, "UpstreamUnavailableException")
        assert answer.headers["retry-after"] == "1"
        code, _ = grpc_error_of(door, b"x")
        assert code is grpc.StatusCode.UNAVAILABLE
        stub.start()
        try:
            wait_until(lambda: door.rest().status_code == 200)
        finally:
            stub.stop()


def test_torchserve_comes_back_elsewhere(upstream: StubUpstream, tmp_path: Path) -> None:
    nobody = StubUpstream(rest_port=free_ports(1)[0], grpc_port=free_ports(1)[0])
    with open_door(tmp_path, nobody) as door:
        assert door.rest().status_code == 503
        door.gateway.set_upstream(upstream.rest_port, upstream.grpc_port)
        wait_until(lambda: door.rest().status_code == 200)
        assert door.grpc() == "1.0"


def test_envoy_is_killed_and_started_again(
    door: Door, upstream: StubUpstream, tmp_path: Path
) -> None:
    with open_door(tmp_path, upstream) as other:
        other.split("1.0=0", "2.0=100")
        os.kill(other.gateway.pid or 0, signal.SIGKILL)
        wait_until(lambda: not _runs(other))
        with pytest.raises(ServeError, match=r"the gateway's Envoy was killed by SIGKILL"):
            other.gateway.check()
        other.gateway.restart()
        assert other.rest().headers["x-marina-version"] == "2.0"
        other.gateway.check()


def _runs(door: Door) -> bool:
    try:
        door.gateway.check()
    except ServeError:
        return False
    return True


def test_a_port_that_is_taken(upstream: StubUpstream, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServeError, match=r"Envoy ended with 1: .*Address already in use"),
            open_door(tmp_path, upstream, rest_port=port),
        ):
            pass


def test_draining_answers_what_is_in_flight(upstream: StubUpstream, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with open_door(tmp_path, upstream) as door, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(door.rest, b"sleep 1")
        wait_until(lambda: any(seen.body == b"sleep 1" for seen in upstream.seen))
        assert door.gateway.drain(20, lambda: False)
        assert slow.result().status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{door.url}/predictions/m", content=b"x", trust_env=False)


def refuse(*_: object) -> None:
    raise httpx.ReadTimeout("the admin interface does not answer")


def test_the_log_is_put_aside_when_it_is_large(
    upstream: StubUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marina.gateway.gateway._LARGEST_LOG_BYTES", 10)
    with open_door(tmp_path, upstream) as door:
        first = door.rest().headers["x-request-id"]
        door.line(first, "rest")
        with monkeypatch.context() as deaf:
            deaf.setattr("marina.gateway.admin.Admin.post", refuse)
            door.gateway.rotate_log()
        door.gateway.rotate_log()  # Envoy is told again
        second = door.rest().headers["x-request-id"]
        door.line(second, "rest")
        assert [line["request_id"] for line in door.lines()] == [first, second]
        assert json.loads((tmp_path / "gateway.log").read_text())["request_id"] == second
        aside = (tmp_path / "gateway.log.1").read_text()
        assert json.loads(aside)["request_id"] == first
