"""What passes the gateway and what does not, over both transports."""

from __future__ import annotations

import queue
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.empty_pb2 import Empty

from marina.client.proto.inference_pb2 import PredictionsRequest
from tests.crowds import BLOCKED_METHODS, blocked_routes, check_blocked

from .conftest import Door, open_door
from .stub_upstream import StubUpstream

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"


@pytest.mark.parametrize(("method", "path"), blocked_routes("m"))
def test_a_blocked_route(door: Door, method: str, path: str) -> None:
    check_blocked(door.config.rest_port, method, path)
    assert door.upstream.seen == []


def test_an_escaped_slash_is_refused(door: Door) -> None:
    answer = door.http.post("/predictions/m%2f..%2f..%2fmodels")
    assert answer.status_code == 400
    assert answer.json()["type"] == "BadRequestException"
    assert door.upstream.seen == []


def test_what_passes(door: Door) -> None:
    assert door.http.get("/ping").json() == {"status": "Healthy"}
    assert door.http.get("/ready").status_code == 200
    assert door.rest().headers["x-marina-version"] == "1.0"
    assert door.rest(version="7.5").headers["x-marina-version"] == "7.5"
    assert door.http.post("/predictions/m?top_k=3", content=b"x").status_code == 200
    assert door.upstream.seen[-1].path == "/predictions/m?top_k=3"


@pytest.mark.parametrize("method", BLOCKED_METHODS)
def test_a_blocked_method(door: Door, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        door.channel.unary_unary(method)(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "RouteNotFoundException" in caught.value.details()


def test_methods_that_pass(door: Door) -> None:
    assert door.stub.Ping(Empty(), timeout=30).health == "Healthy"
    assert door.grpc() == "1.0"
    assert door.grpc(version="7.5") == "7.5"
    request = PredictionsRequest(model_name="m", model_version="7.5", input={"data": b"x"})
    assert len(list(door.stub.StreamPredictions(request, timeout=30))) == 1


def test_a_stream_of_requests_is_refused_at_once(door: Door) -> None:
    """Before its end: its client waits for an answer, and would get past split and limits."""
    door.split("1.0=100")
    request = PredictionsRequest(model_name="m", model_version="2.0", input={"data": b"x"})
    wanted: queue.Queue[PredictionsRequest | None] = queue.Queue()
    wanted.put(request)
    answers = door.stub.StreamPredictions2(iter(wanted.get, None), timeout=30)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    wanted.put(None)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "call Predictions for each" in caught.value.details()
    assert door.upstream.seen == []


def test_http_2_in_the_clear(door: Door) -> None:
    """gRPC's port speaks HTTP/2; what is not gRPC gets no further."""
    with httpx.Client(trust_env=False) as client:
        answer = client.post(f"http://{door.target}/predictions/m", content=b"x", timeout=30)
    assert answer.status_code == 404
    assert door.upstream.seen == []


def test_metrics_and_nothing_else_of_the_admin_interface(door: Door) -> None:
    url = f"http://127.0.0.1:{door.config.metrics_port}"
    with httpx.Client(trust_env=False, timeout=30) as client:
        assert "envoy_http_downstream_rq_total" in client.get(f"{url}/metrics").text
        for path in ("/", "/stats", "/config_dump", "/quitquitquit", "/drain_listeners"):
            assert client.get(url + path).status_code == 404
            assert client.post(url + path).status_code == 404


def test_nobody_asks_for_an_explanation_by_another_way(door: Door) -> None:
    """Over REST by TorchServe's own header; over gRPC by a field of the input, however written."""
    assert door.rest(explain="True").status_code == 200
    assert "explain" not in door.upstream.seen.pop().headers
    field = b"\x0a\x87\x00explain"  # the key, its length in two bytes where one would do
    for entry in (field + b"\x12\x04True", b"\x12\x04True" + field):
        message = b"\x0a\x01m\x1a" + bytes([len(entry)]) + entry
        assert PredictionsRequest.FromString(message).input["explain"] == b"True"
        for method in ("Predictions", "StreamPredictions"):
            with pytest.raises(grpc.RpcError) as caught:
                door.channel.unary_unary(f"{SERVICE}/{method}")(message, timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "explanations are off: serve with --explanations" in caught.value.details()
    assert door.upstream.seen == []


def test_explanations_when_asked_for(upstream: StubUpstream, tmp_path: Path) -> None:
    with open_door(tmp_path, upstream, explanations=True) as door:
        assert door.http.post("/explanations/m/1.0", content=b"x").status_code == 200
        request = PredictionsRequest(model_name="m", input={"data": b"x", "explain": b"True"})
        assert door.stub.Predictions(request, timeout=30).prediction
        assert len(list(door.stub.StreamPredictions(request, timeout=30))) == 1
