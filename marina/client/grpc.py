"""How calls travel over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.empty_pb2 import Empty

from marina.client.address import is_loopback
from marina.client.call import Attempt, Call, Operation, Reply
from marina.client.proto import management_pb2 as management
from marina.client.proto import operations_pb2 as operations
from marina.client.proto.inference_pb2 import PredictionsRequest
from marina.client.proto.inference_pb2_grpc import InferenceAPIsServiceStub
from marina.client.proto.management_pb2_grpc import ManagementAPIsServiceStub
from marina.client.proto.operations_pb2_grpc import OperationsServiceStub
from marina.client.status import error_from_grpc
from marina.errors import ClientError, NotOffered

if TYPE_CHECKING:
    from marina.client.options import Options

# Over gRPC TorchServe has no explanations, nor headers that reach the handler: it is told so in the
# field that TorchServe sets as a header on what comes to /explanations.
EXPLAIN_FIELD = "explain"

# The stub's method, and the message that it takes.
_MANAGEMENT: dict[Operation, tuple[str, type[Any]]] = {
    Operation.LIST: ("ListModels", management.ListModelsRequest),
    Operation.DESCRIBE: ("DescribeModel", management.DescribeModelRequest),
    Operation.REGISTER: ("RegisterModel", management.RegisterModelRequest),
}
# Of Marina's own service: TorchServe's messages cannot say all that REST can.
_OWN: dict[Operation, tuple[str, type[Any]]] = {
    Operation.SCALE: ("Scale", operations.ScaleRequest),
    Operation.SET_DEFAULT: ("SetDefault", operations.SetDefaultRequest),
    Operation.UNREGISTER: ("Unregister", operations.UnregisterRequest),
    Operation.SWITCH: ("Switch", operations.SwitchRequest),
    Operation.SET_POLICY: ("SetPolicy", operations.SetPolicyRequest),
}

# Where Marina says what lies behind an error, such as a worker's traceback.
DETAILS_KEY = "marina-details-bin"
_FIRST_RECONNECT_MS = 100


class GrpcWire:
    """Sends calls over gRPC, and waits for each.

    Args:
        target: ``host:port`` of the inference API; None where only management is asked.
        options: What the client was told.
    """

    def __init__(self, target: str | None, options: Options):
        self._form = _Form(target, options, grpc)

    def send(self, attempt: Attempt) -> Reply:
        """Send a call.

        Raises:
            ClientError: No answer came, or one that is an error.
        """
        method, arguments = self._form.method(attempt)
        try:
            return _reply(method(**arguments))
        except grpc.RpcError as err:
            raise self._form.error(err, attempt.call.operation) from err

    def close(self) -> None:
        """Close the connections."""
        for channel in self._form.channels:
            channel.close()


class AsyncGrpcWire:
    """Sends calls over gRPC, and awaits each. See `GrpcWire`."""

    def __init__(self, target: str | None, options: Options):
        self._form = _Form(target, options, grpc.aio)

    async def send(self, attempt: Attempt) -> Reply:
        """Send a call, see `GrpcWire.send`."""
        method, arguments = self._form.method(attempt)
        try:
            return _reply(await method(**arguments))
        except grpc.RpcError as err:
            raise self._form.error(err, attempt.call.operation) from err

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._form.channels:
            await channel.close()


class _Form:
    """What calls look like as gRPC messages, and what gRPC's statuses mean.

    Args:
        target: Of the inference API.
        options: What the client was told.
        library: ``grpc`` or ``grpc.aio``, which make the channels.
    """

    def __init__(self, target: str | None, options: Options, library: Any):
        self.channels: list[Any] = []
        self._options = options
        self._library = library
        self._target = target
        self._inference = InferenceAPIsServiceStub(self._open(target)) if target else None
        channel = self._open(options.management) if options.management else None
        self._management = ManagementAPIsServiceStub(channel) if channel else None
        self._own = OperationsServiceStub(channel) if channel else None

    def method(self, attempt: Attempt) -> tuple[Any, dict[str, Any]]:
        """Give the stub's method for an attempt, and the method's arguments."""
        call, operation = attempt.call, attempt.call.operation
        stub = self._inference
        if operation.is_management:
            stub = self._own if operation in _OWN else self._management
        if operation is Operation.READY:
            raise NotOffered("readiness is asked over HTTP")
        if stub is None:
            which = "management" if operation.is_management else "inference"
            raise ClientError(
                f"this client was given no address of the {which} API: make it with one, such as "
                'management="127.0.0.1:7071"'
            )
        metadata = [("x-request-id", call.request_id)]
        if attempt.token is not None:
            metadata.append(("authorization", f"Bearer {attempt.token}"))
        name, message = _message(call)
        timeout_s = self._options.read_timeout_s
        return getattr(stub, name), {"request": message, "metadata": metadata, "timeout": timeout_s}

    def error(self, err: Any, operation: Operation) -> ClientError:
        """Give the error that a call's status stands for."""
        target = self._options.management if operation.is_management else self._target
        timeout_s = self._options.read_timeout_s
        error = error_from_grpc(err.code().name, err.details() or "", str(target), timeout_s)
        behind = dict(err.trailing_metadata() or ()).get(DETAILS_KEY, b"")
        error.details = behind.decode("utf-8", "replace")
        return error

    def _open(self, target: str) -> Any:
        options, limit = self._options, self._options.max_message_bytes
        arguments = [
            # gRPC's core uses this for the time that one attempt to connect may take.
            ("grpc.min_reconnect_backoff_ms", int(options.connect_timeout_s * 1000)),
            ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
            ("grpc.enable_http_proxy", int(not is_loopback(target.rpartition(":")[0]))),
            ("grpc.max_send_message_length", limit),
            ("grpc.max_receive_message_length", limit),
        ]
        if options.tls is None:
            channel = self._library.insecure_channel(target, arguments)
        else:
            credentials = grpc.ssl_channel_credentials(*options.tls.contents())
            channel = self._library.secure_channel(target, credentials, arguments)
        self.channels.append(channel)
        return channel


def _message(call: Call) -> tuple[str, Any]:
    """Give the method's name and the message of a call."""
    if call.operation is Operation.PING:
        return "Ping", Empty()
    if not call.operation.is_management:
        # gRPC's headers do not reach the handler: there, options are input fields.
        fields = {name.lower(): value.encode() for name, value in call.options.items()}
        fields["x-request-id"] = call.request_id.encode()
        if call.operation is Operation.EXPLAIN:
            fields[EXPLAIN_FIELD] = b"True"
        return "Predictions", PredictionsRequest(
            model_name=call.model,
            model_version=call.version or "",
            input={"data": call.image, **fields},
        )
    form = (_MANAGEMENT | _OWN).get(call.operation)
    if form is None:
        raise NotOffered("gRPC does not have it: ask over REST")
    name, message = form
    named = {"model_name": call.model, "model_version": call.version or ""}
    given = {field: value for field, value in named.items() if value}
    return name, message(**given, **call.arguments)


def _reply(answer: Any) -> Reply:
    """Give the one field that each of TorchServe's answers has."""
    _, value = answer.ListFields()[0] if answer.ListFields() else ("", b"")
    return Reply(value.encode() if isinstance(value, str) else value)
