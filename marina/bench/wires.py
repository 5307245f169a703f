"""How a load's images travel: over REST, or over gRPC."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc

from marina.client.address import is_loopback
from marina.client.proto.inference_pb2 import PredictionsRequest
from marina.client.proto.inference_pb2_grpc import InferenceAPIsServiceStub

if TYPE_CHECKING:
    from argparse import Namespace

TIMEOUT_S = 60.0
MOST_IN_FLIGHT = 2000

_GRPC_STATUS = {"RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status, or the one that an error over gRPC stands for.
        body: The answer, or what is said of its absence.
        upstream_ms: What Envoy, if one is in between, says that the server behind it took.
    """

    status: int
    body: bytes
    upstream_ms: float | None = None


class Wire(Protocol):
    """A client's connections; they are opened when it is made."""

    def __init__(self, options: Namespace, host: str | None) -> None: ...

    def send(self, image: bytes) -> Answer:
        """Send one image over the wire."""


class RestWire:
    """REST: one connection in closed loop, as many as it takes in open loop.

    Args:
        options: Of the load; see ``add_options`` of the locustfile.
        host: Base URL of the server.

    Attributes:
        headers: Of each request.
    """

    def __init__(self, options: Namespace, host: str | None) -> None:
        from geventhttpclient import HTTPClient  # gevent is for the load generator's process
        from geventhttpclient.url import URL

        base = (host or "http://127.0.0.1:8080").rstrip("/")
        version = f"/{options.model_version}" if options.model_version else ""
        path = getattr(options, "path", None) or f"/predictions/{options.model}{version}"
        self._path = URL(base + path).request_uri
        # Without a type TorchServe takes a body for a form, and drops it.
        given = getattr(options, "headers", None) or {}
        self.headers = {"Content-Type": "application/octet-stream", **given}
        self._client = HTTPClient.from_url(
            base,
            concurrency=MOST_IN_FLIGHT if getattr(options, "arrival_rate", None) else 1,
            connection_timeout=TIMEOUT_S,
            network_timeout=TIMEOUT_S,
        )

    def send(self, image: bytes) -> Answer:
        """Send one image over the wire."""
        response = self._client.post(self._path, body=image, headers=self.headers)
        body = bytes(response.read())
        upstream = response.get("x-envoy-upstream-service-time")
        return Answer(response.status_code, body, float(str(upstream)) if upstream else None)


class GrpcWire:
    """gRPC, over a connection of its own.

    Args:
        options: Of the load; see ``add_options`` of the locustfile.
        host: Is not asked: the options name the target.
    """

    def __init__(self, options: Namespace, host: str | None) -> None:  # noqa: ARG002
        target = str(options.grpc_target)
        proxied = int(not is_loopback(target.rpartition(":")[0]))
        settings = [("grpc.enable_http_proxy", proxied), ("grpc.use_local_subchannel_pool", 1)]
        self._stub = InferenceAPIsServiceStub(grpc.insecure_channel(target, settings))
        self._model, self._version = options.model, options.model_version or ""

    def send(self, image: bytes) -> Answer:
        """Send one image over the wire."""
        request = PredictionsRequest(
            model_name=self._model, model_version=self._version, input={"data": image}
        )
        try:
            body = bytes(self._stub.Predictions(request, timeout=TIMEOUT_S).prediction)
        except grpc.RpcError as err:
            said = f"{err.code().name}: {err.details()}"
            return Answer(_GRPC_STATUS.get(err.code().name, 500), said.encode())
        return Answer(_status_in(body), body)


def _status_in(body: bytes) -> int:
    """Give the status in an answer's body: over gRPC TorchServe reports OK with an error's body."""
    if b'"code"' not in body[:40]:
        return 200
    code = json.loads(body).get("code")
    return code if isinstance(code, int) else 200
