"""A stand-in for TorchServe: REST, gRPC and ``/ready``, with any number of versions of ``m``.

The body (over gRPC the input ``data``) says what it does:

=============  =====================================================
``sleep 0.5``  answers after so many seconds
``full``       says what TorchServe says of a full queue
``bad``        answers 400, over gRPC with OK and that as its body
``hang up``    closes the connection without an answer
anything else  answers with the label ``class <version>``
=============  =====================================================
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import grpc

from marina.client.proto.inference_pb2 import (
    PredictionResponse,
    PredictionsRequest,
    TorchServeHealthResponse,
)
from marina.client.proto.inference_pb2_grpc import (
    InferenceAPIsServiceServicer,
    add_InferenceAPIsServiceServicer_to_server,
)

DEFAULT = "1.0"
FULL = 'Model "m" has no worker to serve inference request. Please use scale workers API to add'
BAD = {"code": 400, "type": "BadImageException", "message": "expected an image"}


@dataclass
class Seen:
    """One request as it reached the stub."""

    transport: str
    version: str
    headers: dict[str, str]
    body: bytes
    path: str = ""


@dataclass
class StubUpstream:
    """Both servers, from `start` to `stop`."""

    seen: list[Seen] = field(default_factory=list)
    label: str = "class {}"
    has_worker: bool = True
    asked: list[str] = field(default_factory=list)
    rest_port: int = 0
    grpc_port: int = 0

    def start(self) -> None:
        handler = type("Handler", (_Rest,), {"stub": self})
        self._rest = _Server(("127.0.0.1", self.rest_port), handler)
        self.rest_port = self._rest.server_port
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        self._grpc = grpc.server(
            ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", 64 << 20)]
        )
        add_InferenceAPIsServiceServicer_to_server(_Grpc(self), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        self._grpc.start()

    def stop(self) -> None:
        self._rest.shutdown()
        self._rest.server_close()
        self._grpc.stop(0)

    def answer(self, version: str, *, detailed: bool) -> bytes:
        label = self.label.format(version)
        if detailed:
            predictions = [{"label": label, "index": 0, "probability": 0.875}]
            document = {"model": "m", "version": version, "predictions": predictions}
            return json.dumps(document, ensure_ascii=False).encode()
        return json.dumps({label: 0.875, "other": 0.125}, ensure_ascii=False).encode()


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """The gateway hung up, as it should at a deadline."""


class _Rest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: ClassVar[StubUpstream]
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path.startswith("/ready/"):
            self.stub.asked.append(self.path)
            self._reply(200 if self.stub.has_worker else 503, b"{}")
            return
        self._reply(200, b'{"status": "Healthy"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        version = [*path.split("/"), DEFAULT][3]
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.stub.seen.append(Seen("rest", version, headers, body, self.path))
        if version == "slow":
            time.sleep(1)
        if body.startswith(b"sleep"):
            time.sleep(float(body[6:]))
        if body == b"hang up":
            self.close_connection = True
            return
        if body == b"full":
            said = {"code": 503, "type": "ServiceUnavailableException", "message": FULL}
            self._reply(503, json.dumps(said).encode())
        elif body == b"bad":
            self._reply(400, json.dumps(BAD).encode())
        else:
            headers = {"x-marina-version": version, "x-marina-top1": "class%20" + version}
            headers |= {"x-marina-confidence": "0.875", "x-request-id": "torchserve-own"}
            detailed = self.headers.get("x-marina-format") == "detailed"
            self._reply(200, self.stub.answer(version, detailed=detailed), **headers)

    def _reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class _Grpc(InferenceAPIsServiceServicer):
    def __init__(self, stub: StubUpstream):
        self._stub = stub

    def Ping(self, request: Any, context: Any) -> TorchServeHealthResponse:  # noqa: N802
        return TorchServeHealthResponse(health="Healthy")

    def Predictions(self, request: PredictionsRequest, context: Any) -> PredictionResponse:  # noqa: N802
        version = request.model_version or DEFAULT
        body = bytes(request.input["data"])
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        self._stub.seen.append(Seen("grpc", version, headers, body, request.model_name))
        if body.startswith(b"sleep"):
            time.sleep(float(body[6:]))
        if body == b"full":
            context.abort(grpc.StatusCode.INTERNAL, f"{FULL}\nInternalServerException")
        if body == b"bad":
            return PredictionResponse(prediction=json.dumps(BAD).encode())
        detailed = request.input.get("x-marina-format") == b"detailed"
        return PredictionResponse(prediction=self._stub.answer(version, detailed=detailed))

    def StreamPredictions(self, request: PredictionsRequest, context: Any) -> Any:  # noqa: N802
        raise AssertionError("TorchServe's worker would end")

    def StreamPredictions2(self, requests: Any, context: Any) -> Any:  # noqa: N802
        for request in requests:
            yield self.Predictions(request, context)
