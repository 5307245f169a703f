"""TorchServe's own management API, which only Marina speaks to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import grpc
import httpx

from marina.client.proto.management_pb2 import (
    ListModelsRequest,
    RegisterModelRequest,
    UnregisterModelRequest,
)
from marina.client.proto.management_pb2_grpc import ManagementAPIsServiceStub
from marina.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

_TIMEOUT_S = 5.0
_CHANGE_TIMEOUT_S = 60.0  # ending the workers of a version takes a while


@dataclass(frozen=True, slots=True)
class Condition:
    """How one version of a model fares.

    Attributes:
        version: Of the model.
        ready: Number of workers that have loaded it.
        wanted: Number of workers that it shall have.
        pending: Requests that wait in its queue.
        max_batch_delay_s: How long a worker waits for a batch to fill.
        told: All that TorchServe says of it.
    """

    version: str
    ready: int
    wanted: int
    pending: int
    max_batch_delay_s: float
    told: dict[str, Any]


# TorchServe trips over a worker whose batch ends while it is scaled down, and answers 500 with the
# words of a NullPointerException. Asked again, it does it.
_TRIPPED = '"job" is null'
_FULL = "ServiceUnavailableException"
_SCALE_TRIES = 3
_SCALE_AGAIN_S = 0.2


class Refused(ServeError):
    """TorchServe refuses a change; the message is its own."""


class Management:
    """A connection to the management API of a TorchServe on this machine.

    To register a model and to end its workers takes TorchServe long, so it is told that over gRPC.
    Over REST it would do it in a thread that answers clients too, and keep those of its connections
    waiting meanwhile.

    Args:
        url: Of the API.
        grpc_target: Of the API, as ``host:port``.
        token: Gives the token of the moment; None where none is wanted.
    """

    def __init__(self, url: str, grpc_target: str, token: Callable[[], str | None] = lambda: None):
        self._token = token
        # A proxy does not reach this machine's loopback.
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=_TIMEOUT_S)
        options = [("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 100)]
        self._channel = grpc.insecure_channel(grpc_target, options)
        self._stub = ManagementAPIsServiceStub(self._channel)

    @property
    def answers(self) -> bool:
        """Whether it answers at all."""
        try:
            self._ask(self._stub.ListModels, ListModelsRequest(limit=1), _TIMEOUT_S)
            return self._call("GET", "/models").is_success
        except (grpc.RpcError, httpx.HTTPError, ServeError):  # it has not written its tokens yet
            return False

    def conditions(self, name: str) -> list[Condition]:
        """Describe every version of a model; the empty list if the API does not answer so yet."""
        return [_condition(version) for version in self._describe(f"{quote(name)}/all")]

    def default_version(self, name: str) -> str | None:
        """Give the version that answers whoever names none."""
        return next((str(model["modelVersion"]) for model in self._describe(quote(name))), None)

    def register(self, file: str, name: str, batch_size: int, max_batch_delay_ms: int) -> None:
        """Register an archive of the store. Its workers, as many as it says, load afterwards.

        Raises:
            Refused: TorchServe does not take it.
        """
        request = RegisterModelRequest(
            url=file,
            model_name=name,
            batch_size=batch_size,
            max_batch_delay=max_batch_delay_ms,
            initial_workers=1,
        )
        self._change_at_length(self._stub.RegisterModel, request)

    def scale(self, name: str, version: str, workers: int) -> None:
        """Set the number of workers, who start and stop afterwards.

        Raises:
            Refused: TorchServe does not do it.
        """
        path = f"/models/{quote(name)}/{quote(version)}"
        for tries_left in reversed(range(_SCALE_TRIES)):
            try:
                self._change(
                    "PUT", path, min_worker=workers, max_worker=workers, synchronous="false"
                )
            except Refused as err:
                if _TRIPPED not in str(err) or not tries_left:
                    raise
                time.sleep(_SCALE_AGAIN_S)
            else:
                return

    def ready_workers(self, name: str, version: str, after: int) -> set[int]:
        """Give the process ids of the workers that have loaded a version, but for the first ones.

        Args:
            name: Of the model.
            version: Of the model.
            after: Number of workers, loaded or not, to leave out: those that stay if so many do.
        """
        return {
            int(worker["pid"])
            for condition in self.conditions(name)
            if condition.version == version
            for worker in condition.told["workers"][after:]
            if worker["status"] == "READY"
        }

    def describe_by_worker(self, name: str, version: str, timeout_s: float) -> bool:
        """Have a worker describe a version, which it does when it has nothing else to do.

        Returns:
            Whether a worker was asked: not if the queue is full.

        Raises:
            Refused: No answer came.
        """
        path = f"/models/{quote(name)}/{quote(version)}"
        try:
            response = self._call("GET", path, {"customized": "true"}, timeout_s)
        except httpx.HTTPError as err:
            raise Refused(f"TorchServe's management does not answer: {err}") from err
        # A handler that cannot describe gives a 503 too, of another type.
        is_full = response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        return not (is_full and _FULL in response.text)

    def make_default(self, name: str, version: str) -> None:
        """Make a version the one that answers whoever names none, and see that it is.

        Raises:
            ServeError: TorchServe does not do it.
        """
        if self.default_version(name) != version:
            self._change("PUT", f"/models/{quote(name)}/{quote(version)}/set-default")
        answering = self.default_version(name)
        if answering != version:
            raise ServeError(f"{name}: version {answering} is the default instead of {version}")

    def unregister(self, name: str, version: str) -> None:
        """Drop a version, and whatever waits in its queue with it.

        Raises:
            Refused: TorchServe does not do it.
        """
        request = UnregisterModelRequest(model_name=name, model_version=version)
        self._change_at_length(self._stub.UnregisterModel, request)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._channel.close()

    def _describe(self, path: str) -> list[dict[str, Any]]:
        try:
            response = self._call("GET", f"/models/{path}")
            return list(response.json()) if response.is_success else []
        except (httpx.HTTPError, ServeError, ValueError):
            return []

    def _change(self, method: str, path: str, **query: str | int) -> None:
        try:
            response = self._call(method, path, query, _CHANGE_TIMEOUT_S)
        except httpx.HTTPError as err:
            raise Refused(f"TorchServe's management does not answer: {err}") from err
        if not response.is_success:
            raise Refused(_message(response), details=response.text)

    def _change_at_length(self, method: Callable[..., Message], request: Message) -> None:
        try:
            self._ask(method, request, _CHANGE_TIMEOUT_S)
        except grpc.RpcError as err:
            message, _, details = err.details().partition("\n")
            raise Refused(message, details=details) from err

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str | int] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> httpx.Response:
        headers = dict(self._authorization())
        return self._client.request(method, path, params=query, headers=headers, timeout=timeout_s)

    def _ask(self, method: Callable[..., Message], request: Message, timeout_s: float) -> None:
        method(request, metadata=self._authorization(), timeout=timeout_s)

    def _authorization(self) -> list[tuple[str, str]]:
        token = self._token()
        return [("authorization", f"Bearer {token}")] if token else []


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {HTTPStatus(response.status_code).phrase}"


def _condition(model: dict[str, Any]) -> Condition:
    return Condition(
        version=str(model["modelVersion"]),
        ready=sum(worker["status"] == "READY" for worker in model["workers"]),
        wanted=int(model["minWorkers"]),
        pending=int(model["jobQueueStatus"]["pendingRequests"]),
        max_batch_delay_s=model["maxBatchDelay"] / 1000,
        told=model,
    )
