"""The one table of what an answer's status means, whichever way it came."""

from __future__ import annotations

from marina.errors import (
    BadImage,
    BadRequest,
    ClientError,
    Conflict,
    ConnectionFailed,
    ConnectionRefused,
    DeadlineExceeded,
    ModelNotFound,
    NotOffered,
    NotReady,
    QueueFull,
    ServerFault,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)

_BY_STATUS: dict[int, type[ClientError]] = {
    400: BadRequest,
    401: Unauthorized,
    404: ModelNotFound,
    405: NotOffered,
    408: DeadlineExceeded,
    409: Conflict,
    413: TooLarge,
    415: UnsupportedMedia,
    429: QueueFull,
    500: ServerFault,
    501: NotOffered,
    503: NotReady,
    504: DeadlineExceeded,
}

# Where the type in an error's body says more than its status: TorchServe answers 503 when the
# handler raised, too.
_BY_TYPE: dict[str, type[ClientError]] = {
    "BadImageException": BadImage,
    "ExplanationsOffException": NotOffered,
    "InternalServerException": ServerFault,
}

# Where TorchServe's status misleads, and the error's own holds: a wrong token is 400, and a full
# queue 503.
_MISNAMED: dict[str, type[ClientError]] = {
    "InvalidKeyException": Unauthorized,
    "ServiceUnavailableException": QueueFull,
}

# gRPC's codes by name (https://grpc.io/docs/guides/status-codes/).
_BY_GRPC_CODE: dict[str, int] = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 401,  # TorchServe's word for a token that is missing or wrong
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 409,
    "CANCELLED": 413,  # so TorchServe refuses what is larger than its max_request_size
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

# Where the Java class that TorchServe names over gRPC says more than its code, which is INTERNAL
# for an unknown model and UNKNOWN for much.
_BY_JAVA_CLASS: dict[str, int] = {
    "ModelNotFoundException": 404,
    "ModelVersionNotFoundException": 404,
    "ConflictStatusException": 409,
    "PayloadTooLargeException": 413,  # the gateway's
}

# What gRPC's core says where nothing of a call was sent.
_UNSENT = ("failed to connect", "dns resolution failed")


def error_from_status(code: int, type_: str, message: str) -> ClientError:
    """Give the error that an answer's ``{"code", "type", "message"}`` stands for.

    Args:
        code: An HTTP status of 400 or more. One without a class of its own becomes a
            `BadRequest` (4xx) or a `ServerFault` (5xx) of that status.
        type_: The ``type`` in the body, or an empty string.
        message: What the server says.
    """
    if type_ in _MISNAMED:
        return _MISNAMED[type_](message)
    general = BadRequest if code < 500 else ServerFault
    error = _BY_TYPE.get(type_) or _BY_STATUS.get(code, general)
    return error(message, status=code)


def error_from_grpc(code: str, details: str, target: str, read_timeout_s: float) -> ClientError:
    """Give the error that a gRPC status stands for.

    Args:
        code: Its name.
        details: What is said with it; TorchServe says ``message<newline>Java class``.
        target: Whom the call went to.
        read_timeout_s: How long its answer was waited for, in seconds.
    """
    said, _, java_class = details.rpartition("\n")
    if said:
        return _torchserve_error(code, said, java_class.rstrip(".()").rpartition(".")[2])
    if "larger than max" in details:
        return TooLarge(f"{details}: give the client a larger max_message_bytes")
    if code == "DEADLINE_EXCEEDED":
        return DeadlineExceeded(no_answer(target, read_timeout_s))
    if code == "CANCELLED":
        return TooLarge(f"{target} cut the call: the image is larger than its max_request_size")
    if code == "UNAVAILABLE":
        is_unsent = details.lower().startswith(_UNSENT)
        error = ConnectionRefused if is_unsent else ConnectionFailed
        return error(cannot_reach(target, details))
    return error_from_status(_BY_GRPC_CODE.get(code, 500), "", details or f"{target} says {code}")


def no_answer(target: str, read_timeout_s: float) -> str:
    """Say that no answer came in time."""
    return (
        f"no answer from {target} within {read_timeout_s:g} s: the server is overloaded, or its "
        "worker hangs"
    )


def cannot_reach(target: str, why: str) -> str:
    """Say that a server cannot be reached."""
    return (
        f"cannot reach {target} ({why}): check that it is the server's address, and that the "
        "server runs (`marina serve`)"
    )


def _torchserve_error(code: str, said: str, java_class: str) -> ClientError:
    if "has no worker" in said:  # INTERNAL, as much else is
        java_class = "ServiceUnavailableException"
    status = _BY_JAVA_CLASS.get(java_class) or _BY_GRPC_CODE.get(code, 500)
    return error_from_status(status, java_class, said)
