"""The one tree of errors: what goes wrong for a user ends in one of these.

Every message says what was expected, what came and what to do. Each class has the exit code of
the command that it ends; a client's error has the HTTP status that it stands for.
"""

from __future__ import annotations

from typing import ClassVar


class MarinaError(Exception):
    """Base of every error that Marina raises on purpose."""

    exit_code: ClassVar[int] = 1


class RecipeError(MarinaError):
    """A recipe that is missing, or breaks a rule."""

    exit_code = 2


class DataError(MarinaError):
    """Images or labels that are missing, or not what the recipe says."""

    exit_code = 3


class TrainError(MarinaError):
    """A training that cannot start or did not finish."""

    exit_code = 4


class ParityError(MarinaError):
    """An exported model that does not answer as the network it was made from."""

    exit_code = 5


class ArchiveError(MarinaError):
    """An archive or a model store that cannot be written, or is damaged."""

    exit_code = 6


class ServeError(MarinaError):
    """A server that cannot start, is not ready, or died.

    Attributes:
        details: What lies behind the one-line message, such as a worker's own traceback.
    """

    exit_code = 7

    def __init__(self, message: str, details: str = ""):
        super().__init__(message)
        self.details = details


class ClientError(MarinaError):
    """A prediction that was not answered, or answered with an error.

    Attributes:
        status: The HTTP status of the answer, or the one that fits an error without an answer;
            None if the request never reached a server.
        request_id: The server's name for the request, to be found in its log; None if none came.
    """

    exit_code = 8
    status: int | None = None

    def __init__(self, message: str, *, status: int | None = None, request_id: str | None = None):
        super().__init__(message)
        if status is not None:
            self.status = status
        self.request_id = request_id


class BadRequest(ClientError):
    """A request that the server does not understand."""

    status = 400


class BadImage(BadRequest):
    """Bytes that are no image: empty, truncated, damaged."""


class ModelNotFound(ClientError):
    """No model of that name, or not in that version."""

    status = 404


class TooLarge(ClientError):
    """Too many bytes, or an image of too many pixels."""

    status = 413


class UnsupportedMedia(ClientError):
    """A kind of file that is not served."""

    status = 415


class QueueFull(ClientError):
    """More requests wait than the model's queue holds; try again later."""

    status = 429


class ServerFault(ClientError):
    """The server failed on a request that may well be sound."""

    status = 500


class NotReady(ClientError):
    """No worker can take the request now; try again later."""

    status = 503


class DeadlineExceeded(ClientError):
    """No answer came in time."""

    status = 504


class ConnectionFailed(ClientError):
    """No server was reached, or it hung up."""


_BY_STATUS: dict[int, type[ClientError]] = {
    400: BadRequest,
    404: ModelNotFound,
    408: DeadlineExceeded,
    413: TooLarge,
    415: UnsupportedMedia,
    429: QueueFull,
    500: ServerFault,
    503: NotReady,
    504: DeadlineExceeded,
}

# Where the type in an error's body says more than its status. TorchServe answers 503 both when no
# worker is free and, with this type, when the handler raised.
_BY_TYPE: dict[str, type[ClientError]] = {
    "BadImageException": BadImage,
    "InternalServerException": ServerFault,
}


def error_from_body(
    code: int, type_: str, message: str, request_id: str | None = None
) -> ClientError:
    """Give the error that an answer's ``{"code", "type", "message"}`` stands for.

    Args:
        code: An HTTP status of 400 or more. One without a class of its own becomes a
            `BadRequest` (4xx) or a `ServerFault` (5xx) of that status.
        type_: The ``type`` in the body, or an empty string.
        message: What the server says.
        request_id: The server's name for the request.
    """
    general = BadRequest if code < 500 else ServerFault
    error = _BY_TYPE.get(type_) or _BY_STATUS.get(code, general)
    return error(message, status=code, request_id=request_id)
