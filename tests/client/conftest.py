"""Two small servers of the tests' own: they answer as they are told, and keep what they got."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest

from marina.client import AsyncClient, AsyncGrpcClient, Client, GrpcClient, Retry
from marina.client.proto.inference_pb2 import PredictionResponse, TorchServeHealthResponse
from marina.client.proto.inference_pb2_grpc import (
    InferenceAPIsServiceServicer,
    add_InferenceAPIsServiceServicer_to_server,
)

ANSWER = {
    "model": "resnet",
    "version": "1.0",
    "predictions": [
        {"label": "seven", "index": 7, "probability": 0.75},
        {"label": "one", "index": 1, "probability": 0.25},
    ],
}
SOON = Retry(attempts=3, first_s=0.01)


@dataclass
class Script:
    """What a server shall answer, and what it was asked.

    Attributes:
        status: HTTP status, or gRPC status code; a gRPC code of OK answers with the body.
        body: The answer's body; over gRPC with an error code, its details.
        delay: Set to let a request wait for ever.
        token: Without it a request is refused as TorchServe refuses it.
        failures: How many requests are answered as told; those after them get ``ANSWER``.
        requests: What came: over REST (path, headers, body), over gRPC (message, metadata).
    """

    status: Any
    body: bytes = json.dumps(ANSWER).encode()
    delay: threading.Event | None = None
    token: str | None = None
    failures: int = 10**9
    requests: list[Any] = field(default_factory=list)

    def fail(self, status: Any, type_: str, message: str) -> None:
        self.status = status
        self.body = json.dumps({"code": status, "type": type_, "message": message}).encode()

    def answer(self, good: Any, shown: str | None) -> tuple[Any, bytes]:
        """Give status and body for a request that was just kept; ``good`` is the status of OK."""
        if self.delay:
            self.delay.wait()
        if self.token is not None and shown != f"Bearer {self.token}":
            return None, b""
        if len(self.requests) > self.failures:
            return good, json.dumps(ANSWER).encode()
        return self.status, self.body


NO_TOKEN = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.script.requests.append((self.path, dict(self.headers), body))
        status, body = self.script.answer(200, self.headers["Authorization"])
        if status is None:
            document = {"code": 400, "type": "InvalidKeyException", "message": NO_TOKEN}
            status, body = 400, json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(BrokenPipeError):  # the client did not wait
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


class Servicer(InferenceAPIsServiceServicer):
    def __init__(self, script: Script):
        self.script = script

    def Predictions(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return PredictionResponse(prediction=self.answer(request, context))

    def Ping(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return TorchServeHealthResponse(health=self.answer(request, context).decode())

    def answer(self, request: Any, context: grpc.ServicerContext) -> bytes:
        metadata = dict(context.invocation_metadata())
        self.script.requests.append((request, metadata))
        status, body = self.script.answer(grpc.StatusCode.OK, metadata.get("authorization"))
        if status is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, NO_TOKEN)
        if status is not grpc.StatusCode.OK:
            context.abort(status, body.decode())
        return body


class Awaited:
    """An async client that a test can use as the other: each call is run in a loop of its own."""

    def __init__(self, make: Callable[[], Any]):
        self._loop = asyncio.new_event_loop()
        self._client = self._run(self._make(make))

    async def _make(self, make: Callable[[], Any]) -> Any:
        return make()

    def _run(self, coroutine: Any) -> Any:
        return self._loop.run_until_complete(coroutine)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        assert inspect.iscoroutinefunction(method)
        return lambda *args, **kwargs: self._run(method(*args, **kwargs))

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._client.close())
        self._run(asyncio.sleep(0))
        self._loop.close()


@dataclass
class Served:
    """A small server, and how to make a client of it.

    Attributes:
        script: What it answers.
        address: URL or ``host:port``.
        is_grpc: Whether it speaks gRPC.
        is_async: Whether its clients are for asyncio.
    """

    script: Script
    address: str
    is_grpc: bool
    is_async: bool = False

    def client(self, **options: Any) -> Any:
        return connect(self.address, is_grpc=self.is_grpc, is_async=self.is_async, **options)


def connect(address: str, *, is_grpc: bool, is_async: bool, **options: Any) -> Any:
    """Make one of the four clients; a test uses them all alike."""
    options = {"retry": SOON, **options}
    if is_async:
        kind: Any = AsyncGrpcClient if is_grpc else AsyncClient
        return Awaited(lambda: kind(address, **options))
    kind = GrpcClient if is_grpc else Client
    return kind(address, **options)


@contextlib.contextmanager
def http_server(script: Script) -> Iterator[str]:
    """Run a small HTTP server and give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"script": script}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    if script.delay:
        script.delay.set()
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def grpc_server(script: Script) -> Iterator[str]:
    """Run a small gRPC server and give its address."""
    server = grpc.server(ThreadPoolExecutor(16))
    add_InferenceAPIsServiceServicer_to_server(Servicer(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    if script.delay:
        script.delay.set()
    server.stop(None).wait()


@pytest.fixture
def rest() -> Iterator[tuple[Client, Script]]:
    """A client and the script of the server that it talks to."""
    script = Script(200)
    with http_server(script) as url, Client(url, read_timeout_s=0.5, retry=SOON) as client:
        yield client, script


@pytest.fixture
def over_grpc() -> Iterator[tuple[GrpcClient, Script]]:
    """The same over gRPC."""
    script = Script(grpc.StatusCode.OK)
    with (
        grpc_server(script) as target,
        GrpcClient(target, connect_timeout_s=0.5, read_timeout_s=1.5, retry=SOON) as client,
    ):
        yield client, script


@pytest.fixture(params=["REST", "async REST", "gRPC", "async gRPC"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A small server, in turn for each of the four clients."""
    is_async = request.param.startswith("async")
    if request.param.endswith("gRPC"):
        script = Script(grpc.StatusCode.OK)
        with grpc_server(script) as target:
            yield Served(script, target, is_grpc=True, is_async=is_async)
    else:
        script = Script(200)
        with http_server(script) as url:
            yield Served(script, url, is_grpc=False, is_async=is_async)
