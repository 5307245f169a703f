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


class ExportError(MarinaError):
    """A network that cannot be exported as its recipe wants."""

    exit_code = 5


class ParityError(ExportError):
    """An exported model that does not answer as the network it was made from."""


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


class NotServed(ServeError):
    """A model or version that an operation names and the server does not serve."""


class OperationRefused(ServeError):
    """An operation on the models that the server will not do as things are."""


class RolloutError(MarinaError):
    """A rollout.yaml that breaks a rule, or a rollout whose log does not fit it."""

    exit_code = 10


class SplitError(MarinaError):
    """A split of traffic that is not valid, or cannot be applied."""

    exit_code = 9


class BundleError(MarinaError):
    """A bundle cannot be made."""

    exit_code = 13


class BenchError(MarinaError):
    """A benchmark that cannot run, or results that cannot be read or compared."""

    exit_code = 20


class LimitMissed(BenchError):
    """A measurement that is worse than the limits given for it."""

    exit_code = 21


class ClientError(MarinaError):
    """A prediction that was not answered, or answered with an error.

    Attributes:
        status: The HTTP status of the answer, or the one that fits an error without an answer;
            None if the request never reached a server.
        request_id: The client's name for the request, which the gateway and the handler see too.
        is_safe_to_retry: Whether the server certainly did not begin to work on the request.
        details: What lies behind the message, if the server says it: a worker's traceback.
    """

    exit_code = 8
    details: str = ""
    is_safe_to_retry: ClassVar[bool] = False
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


class Unauthorized(ClientError):
    """No token, or one that is wrong or has expired."""

    status = 401


class Conflict(BadRequest):
    """What the server's state forbids, such as a version that is registered already."""

    status = 409


class ModelNotFound(ClientError):
    """No model of that name, or not in that version."""

    status = 404


class TooLarge(ClientError):
    """Too many bytes, or an image of too many pixels."""

    status = 413


class UnsupportedMedia(ClientError):
    """A kind of file that is not served."""

    status = 415


class ServerFault(ClientError):
    """The server failed on a request that may well be sound."""

    status = 500


class NotOffered(ClientError):
    """Something that this server, or this model, does not do."""

    status = 501


class NotReady(ClientError):
    """No worker can take the request now; try again later."""

    status = 503


class QueueFull(NotReady):
    """More requests wait than the model's queue holds; try again later.

    TorchServe says so with 503 and the words "has no worker", which it also says of a model that
    was scaled to none (the gateway tells them apart). Either way it did not take the request.
    """

    is_safe_to_retry = True
    status = 429


class DeadlineExceeded(ClientError):
    """No answer came in time."""

    status = 504


class ConnectionFailed(ClientError):
    """No server was reached, or it hung up."""


class ConnectionRefused(ConnectionFailed):
    """No server was reached: nothing of the request was sent."""

    is_safe_to_retry = True
