"""What a gateway must stand, over plain sockets: before a stub as before TorchServe."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Sequence
from typing import Any

USERS = [f"user {number}" for number in range(1000)]


def blocked_routes(model: str) -> list[tuple[str, str]]:
    """Give methods and paths that TorchServe or Envoy would answer, and the gateway must not."""
    return [
        ("GET", "/"),
        ("GET", f"/predictions/{model}"),
        ("PUT", f"/predictions/{model}"),
        ("OPTIONS", f"/predictions/{model}"),
        ("POST", "/predictions"),
        ("POST", "/predictions/"),
        ("POST", f"/predictions/{model}/1.0/more"),
        ("POST", "/predictions/.hidden"),
        ("POST", "/predictions/../models"),
        ("POST", "//models"),
        ("POST", f"/explanations/{model}"),
        ("POST", f"/explanations/{model}/1.0"),
        ("POST", f"/v1/models/{model}:predict"),
        ("POST", f"/v2/models/{model}/infer"),
        ("POST", f"/wfpredict/{model}"),
        ("POST", "/invocations"),
        ("GET", "/models"),
        ("POST", "/models?url=x.mar"),
        ("DELETE", f"/models/{model}"),
        ("POST", "/workflows"),
        ("GET", "/metrics"),
        ("GET", "/api-description"),
        ("OPTIONS", "/"),
        ("POST", "/ping"),
        ("POST", "/ready"),
        ("GET", "/stats"),
        ("POST", "/quitquitquit"),
    ]


BLOCKED_METHODS = (
    "/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels",
    "/org.pytorch.serve.grpc.management.ManagementAPIsService/RegisterModel",
    "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer",
    "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Else",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
)


def check_blocked(port: int, method: str, path: str) -> None:
    """Check that the gateway itself answers that route, and says what would pass."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(client):
        client.request(method, path)  # as written: httpx would straighten the path by itself
        answer = client.getresponse()
        said: dict[str, Any] = json.loads(answer.read())
    assert answer.status == 404
    assert (said["code"], said["type"]) == (404, "RouteNotFoundException")
    expected = "explanations are off" if "expl" in path else "POST /predictions/<model>"
    assert expected in said["message"]


class SlowClients:
    """Connections whose requests never end: every other one in its headers, the rest in its body.

    Args:
        port: The gateway's REST port.
        model: Whom they ask.
        count: How many.
    """

    def __init__(self, port: int, model: str, count: int = 1000):
        self._clients = contextlib.ExitStack()
        self.without_headers: list[socket.socket] = []
        self.without_body: list[socket.socket] = []
        head = f"POST /predictions/{model} HTTP/1.1\r\nHost: x\r\n".encode()
        for number in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=90)
            self._clients.enter_context(client)
            client.sendall(head if number % 2 else head + b"Content-Length: 1000\r\n\r\nx")
            (self.without_headers if number % 2 else self.without_body).append(client)

    def __enter__(self) -> SlowClients:
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.close()


def check_timed_out(clients: Sequence[socket.socket]) -> None:
    """Check that each was told that it was too slow."""
    for client in clients:
        answer = client.recv(4096)
        assert b" 408 Request Timeout\r\n" in answer
        assert b"RequestTimeoutException" in answer


def pipelined(port: int, model: str, requests: Sequence[tuple[str, str]]) -> list[str]:
    """Send all of (version, body) on one connection at once; give the versions that answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        for version, body in requests:
            head = f"POST /predictions/{model}/{version} HTTP/1.1\r\nHost: x\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answers = b""
        while answers.count(b"x-marina-version") < len(requests) or not answers.endswith(b"}"):
            received = client.recv(65536)
            assert received, answers
            answers += received
    lines = [line for line in answers.splitlines() if line.startswith(b"x-marina-version: ")]
    return [line.split(b": ")[1].decode() for line in lines]
