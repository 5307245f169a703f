"""Two small servers of the tests' own: they answer as they are told, and keep what they got."""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from marina.client import Client, GrpcClient
from marina.client.proto.inference_pb2 import PredictionResponse
from marina.client.proto.inference_pb2_grpc import (
    InferenceAPIsServiceServicer,
    add_InferenceAPIsServiceServicer_to_server,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER = {
    "model": "resnet",
    "version": "1.0",
    "predictions": [
        {"label": "seven", "index": 7, "probability": 0.75},
        {"label": "one", "index": 1, "probability": 0.25},
    ],
}


@dataclass
class Script:
    """What a server shall answer, and what it was asked.

    Attributes:
        status: HTTP status, or gRPC status code; a gRPC code of OK answers with the body.
        body: The answer's body; over gRPC with an error code, its details.
        delay: Set to let a request wait for ever.
        requests: What came: over REST (path, headers, body), over gRPC the message.
    """

    status: Any
    body: bytes = json.dumps(ANSWER).encode()
    delay: threading.Event | None = None
    requests: list[Any] = field(default_factory=list)

    def fail(self, status: Any, type_: str, message: str) -> None:
        self.status = status
        self.body = json.dumps({"code": status, "type": type_, "message": message}).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.script.requests.append((self.path, dict(self.headers), body))
        if self.script.delay:
            self.script.delay.wait()
        self.send_response(self.script.status)
        self.send_header("Content-Length", str(len(self.script.body)))
        self.send_header("x-request-id", "request 1")
        with contextlib.suppress(BrokenPipeError):  # the client did not wait
            self.end_headers()
            self.wfile.write(self.script.body)

    def log_message(self, *_: Any) -> None:
        pass


class Servicer(InferenceAPIsServiceServicer):
    def __init__(self, script: Script):
        self.script = script

    def Predictions(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.script.requests.append(request)
        if self.script.delay:
            self.script.delay.wait()
        if self.script.status is not grpc.StatusCode.OK:
            context.abort(self.script.status, self.script.body.decode())
        return PredictionResponse(prediction=self.script.body)


@pytest.fixture
def rest() -> Iterator[tuple[Client, Script]]:
    """A client and the script of the server that it talks to."""
    script = Script(200)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"script": script}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with Client(url, read_timeout_s=0.5) as client:
        yield client, script
    if script.delay:
        script.delay.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def over_grpc() -> Iterator[tuple[GrpcClient, Script]]:
    """The same over gRPC."""
    script = Script(grpc.StatusCode.OK)
    server = grpc.server(ThreadPoolExecutor(2))
    add_InferenceAPIsServiceServicer_to_server(Servicer(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with GrpcClient(f"127.0.0.1:{port}", connect_timeout_s=0.5, read_timeout_s=1.5) as client:
        yield client, script
    if script.delay:
        script.delay.set()
    server.stop(None).wait()
