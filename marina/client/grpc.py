"""Predictions over gRPC."""

from __future__ import annotations

from typing import Any

import grpc

from marina.client.address import is_loopback
from marina.client.proto.inference_pb2 import PredictionsRequest
from marina.client.proto.inference_pb2_grpc import InferenceAPIsServiceStub
from marina.client.transport import Transport
from marina.errors import (
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    TooLarge,
    error_from_body,
)


class GrpcClient(Transport):
    """A client of TorchServe's gRPC inference API.

    Args:
        target: ``host:port`` of the server.
        connect_timeout_s: Longest wait for a connection, in seconds.
        read_timeout_s: Longest wait for the answer, in seconds.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 60.0,
    ):
        self.target = target
        self._read_timeout_s = read_timeout_s
        options = [
            # gRPC's core uses this for the time that one attempt to connect may take.
            ("grpc.min_reconnect_backoff_ms", int(connect_timeout_s * 1000)),
            ("grpc.enable_http_proxy", int(not is_loopback(target.rpartition(":")[0]))),
        ]
        self._channel = grpc.insecure_channel(target, options)
        self._stub = InferenceAPIsServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _send(
        self, image: bytes, model: str, version: str | None, options: dict[str, str]
    ) -> tuple[bytes, str | None]:
        # gRPC's headers do not reach the handler: there, options are input fields.
        fields = {name.lower(): value.encode() for name, value in options.items()}
        request = PredictionsRequest(
            model_name=model, model_version=version or "", input={"data": image, **fields}
        )
        try:
            response = self._stub.Predictions(request, timeout=self._read_timeout_s)
        except grpc.RpcError as err:
            raise self._error(err) from err
        return response.prediction, None

    def _error(self, err: Any) -> ClientError:
        """Give the error that a call's status stands for."""
        code, message = err.code(), err.details() or ""
        said, _, java_class = message.rpartition("\n")
        if said:
            return _torchserve_error(code, said, java_class)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(
                f"no answer from {self.target} within {self._read_timeout_s:g} s: "
                "the server is overloaded, or its worker hangs"
            )
        if code is grpc.StatusCode.CANCELLED:  # so TorchServe refuses what is too large
            return TooLarge(
                f"{self.target} cut the call: the image is larger than its max_request_size"
            )
        if code is grpc.StatusCode.UNAVAILABLE:
            return ConnectionFailed(
                f"cannot reach {self.target} ({message}): check that it is the server's gRPC "
                "address, and that the server runs (`marina serve`)"
            )
        return error_from_body(_HTTP_STATUS.get(code, 500), "", f"{code.name}: {message}")


_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNIMPLEMENTED: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def _torchserve_error(code: grpc.StatusCode, said: str, java_class: str) -> ClientError:
    """Give the error behind TorchServe's ``message<newline>Java class``.

    The code alone tells little: TorchServe says INTERNAL for an unknown model, and for a full
    queue too.
    """
    name = java_class.rstrip(".()").rpartition(".")[2]
    if name in {"ModelNotFoundException", "ModelVersionNotFoundException"}:
        return error_from_body(404, name, said)
    if "has no worker" in said:
        return error_from_body(503, "ServiceUnavailableException", said)
    return error_from_body(_HTTP_STATUS.get(code, 500), name, said)
