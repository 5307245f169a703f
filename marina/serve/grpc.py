"""The management side over gRPC: TorchServe's own service, and ours beside it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import grpc

from marina.client.call import Call, Operation
from marina.client.grpc import DETAILS_KEY
from marina.client.proto.management_pb2 import ManagementResponse
from marina.client.proto.management_pb2_grpc import (
    ManagementAPIsServiceServicer,
    add_ManagementAPIsServiceServicer_to_server,
)
from marina.client.proto.operations_pb2 import OperationResponse
from marina.client.proto.operations_pb2_grpc import (
    OperationsServiceServicer,
    add_OperationsServiceServicer_to_server,
)
from marina.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marina.client.call import Value
    from marina.serve.reception import Reception

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    503: grpc.StatusCode.UNAVAILABLE,
}
_THREADS = 8
_MOST_DETAILS_BYTES = 6000  # of the 8 KiB that gRPC allows metadata


class GrpcManagement:
    """Listens for management calls over gRPC, in threads of its own.

    Args:
        reception: Answers them.
        address: Where to listen.
        port: Where to listen.

    Raises:
        ServeError: It cannot listen there.
    """

    def __init__(self, reception: Reception, address: str, port: int):
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="gRPC management")
        self._server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        add_ManagementAPIsServiceServicer_to_server(_TorchServes(reception), self._server)
        add_OperationsServiceServicer_to_server(_Own(reception), self._server)
        try:
            self._server.add_insecure_port(f"{address}:{port}")
        except RuntimeError as err:
            raise ServeError(f"cannot listen on {address}:{port} for gRPC management") from err

    def start(self) -> None:
        """Begin to listen."""
        self._server.start()

    def stop(self) -> None:
        """Listen no more; a call under way is not waited for."""
        self._server.stop(grace=None).wait()


class _Service:
    """What both services share.

    Args:
        reception: Answers calls.
    """

    defaults: ClassVar[dict[str, Value]] = {}

    def __init__(self, reception: Reception):
        self._reception = reception

    def _answer(self, operation: Operation, request: Any, context: Any) -> str:
        shown = dict(context.invocation_metadata()).get("authorization")
        call = _call(operation, request, self.defaults)
        status, document = self._reception.answer(call, shown)
        if status < 400:
            return json.dumps(document)
        details = str(document.get("details", "")).encode()
        if details:
            context.set_trailing_metadata([(DETAILS_KEY, details[-_MOST_DETAILS_BYTES:])])
        message = document["message"].replace("\n", " ")
        return str(context.abort(_CODES.get(status, grpc.StatusCode.INTERNAL), message))


class _TorchServes(_Service, ManagementAPIsServiceServicer):  # type: ignore[misc]
    def DescribeModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ManagementResponse(msg=self._answer(Operation.DESCRIBE, request, context))

    def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ManagementResponse(msg=self._answer(Operation.LIST, request, context))

    def RegisterModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ManagementResponse(msg=self._answer(Operation.REGISTER, request, context))

    def ScaleWorker(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ManagementResponse(msg=self._answer(Operation.SCALE, request, context))

    def SetDefault(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ManagementResponse(msg=self._answer(Operation.SET_DEFAULT, request, context))

    def UnregisterModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ManagementResponse(msg=self._answer(Operation.UNREGISTER, request, context))


class _Own(_Service, OperationsServiceServicer):  # type: ignore[misc]
    defaults: ClassVar[dict[str, Value]] = {"synchronous": True}

    def Scale(self, request: Any, context: Any) -> Any:  # noqa: N802
        return OperationResponse(msg=self._answer(Operation.SCALE, request, context))

    def SetDefault(self, request: Any, context: Any) -> Any:  # noqa: N802
        return OperationResponse(msg=self._answer(Operation.SET_DEFAULT, request, context))

    def Unregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        return OperationResponse(msg=self._answer(Operation.UNREGISTER, request, context))

    def Switch(self, request: Any, context: Any) -> Any:  # noqa: N802
        return OperationResponse(msg=self._answer(Operation.SWITCH, request, context))

    def SetPolicy(self, request: Any, context: Any) -> Any:  # noqa: N802
        return OperationResponse(msg=self._answer(Operation.SET_POLICY, request, context))


def _call(operation: Operation, request: Any, defaults: Mapping[str, Value]) -> Call:
    """Give the call that a message stands for; a field that is not set is not given."""
    fields: dict[str, Any] = {descriptor.name: value for descriptor, value in request.ListFields()}
    model = str(fields.pop("model_name", ""))
    version = fields.pop("model_version", None)
    if operation is Operation.SCALE:
        fields["min_worker"] = request.min_worker  # 0 is a number here
    return Call(operation, model, version, arguments={**defaults, **fields})
