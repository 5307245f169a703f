"""A real Envoy in front of a stub of TorchServe, shared where a test does not stop it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from marina.client.proto.inference_pb2 import PredictionsRequest
from marina.client.proto.inference_pb2_grpc import InferenceAPIsServiceStub
from marina.gateway import Gateway, GatewayConfig, Limits, make_split, parse_shares, read_log
from marina.serve.ports import free_ports

from .stub_upstream import StubUpstream


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


class Door:
    """A gateway with what a test wants of it."""

    def __init__(self, gateway: Gateway, config: GatewayConfig, upstream: StubUpstream):
        self.gateway, self.config, self.upstream = gateway, config, upstream
        self.url = f"http://127.0.0.1:{config.rest_port}"
        self.target = f"127.0.0.1:{config.grpc_port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        self.channel = grpc.insecure_channel(
            self.target, [("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)]
        )
        self.stub = InferenceAPIsServiceStub(self.channel)

    def split(self, *weights: str, model: str = "m", **options: Any) -> None:
        shadow = parse_shares(options.pop("shadow", []))
        before = self.gateway.splits.get(model)
        self.gateway.set_split(
            make_split(model, parse_shares(weights), shadow=shadow, before=before, **options)
        )

    def rest(
        self, body: bytes = b"x", version: str | None = None, **headers: str
    ) -> httpx.Response:
        path = "/predictions/m" + (f"/{version}" if version else "")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=body, headers=named)

    def grpc(self, data: bytes = b"x", version: str = "", **metadata: str) -> str:
        """Give the version that answers."""
        request = PredictionsRequest(model_name="m", model_version=version, input={"data": data})
        pairs = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        answer = self.stub.Predictions(request, metadata=pairs, timeout=60).prediction
        return answer.decode().split('"')[1].removeprefix("class ")

    def lines(self, since: int = 0) -> list[dict[str, Any]]:
        return list(read_log(self.gateway.log))[since:]

    def line(self, request_id: str, transport: str) -> dict[str, Any]:
        """Wait for the log's line of a request."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [
                line
                for line in self.lines()
                if line["request_id"] == request_id and line["transport"] == transport
            ]
            return bool(found)

        wait_until(is_there)
        return found[0]

    def close(self) -> None:
        self.http.close()
        self.channel.close()


@contextmanager
def open_door(
    log_dir: Path, upstream: StubUpstream, ready_port: int | None = None, **options: Any
) -> Iterator[Door]:
    """Start a gateway; its private folder has a short path, as its socket needs."""
    rest, grpc_port, metrics = free_ports(3)
    config = GatewayConfig(
        ready_upstream_port=ready_port or upstream.rest_port,
        **{"rest_port": rest, "grpc_port": grpc_port, "metrics_port": metrics, **options},
    )
    ports = (upstream.rest_port, upstream.grpc_port)
    with tempfile.TemporaryDirectory(prefix="marina-test-") as folder:
        gateway = Gateway(config, ports, Path(folder), log_dir)
        try:
            gateway.start()
            door = Door(gateway, config, upstream)
            yield door
            door.close()
        finally:
            gateway.stop()


@pytest.fixture(scope="session")
def upstream() -> Iterator[StubUpstream]:
    stub = StubUpstream()
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture(scope="session")
def shared_door(upstream: StubUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with open_door(tmp_path_factory.mktemp("logs"), upstream, limits=LIMITS) as door:
        yield door


LIMITS = Limits(
    deadline_s=2.0, header_timeout_s=3.0, request_timeout_s=5.0, request_bytes=4 * 1024 * 1024
)


@pytest.fixture
def door(shared_door: Door) -> Iterator[Door]:
    """The shared gateway, with no split."""
    shared_door.upstream.seen.clear()
    yield shared_door
    for model in shared_door.gateway.splits:
        shared_door.gateway.clear_split(model)


def versions(answers: Sequence[httpx.Response]) -> list[str]:
    return [answer.headers["x-marina-version"] for answer in answers]
