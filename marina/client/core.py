"""All that a client does but sending: the one core of REST and gRPC, of waiting and awaiting.

Each thing a client does is a generator. It yields what is to be sent (`Attempt`) or waited for
(`Pause`), is given the `Reply` or the error that came of it, and returns the result. `drive` and
`drive_async` carry such steps out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from marina.client.answer import (
    Explanation,
    ModelStatus,
    Prediction,
    Readiness,
    raise_error_in,
    read_explanation,
    read_health,
    read_predictions,
    read_versions,
    request_options,
)
from marina.client.call import Attempt, Call, Operation, Pause, Reply
from marina.client.options import Options, Retry
from marina.client.token import TokenSource
from marina.errors import (
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    NotReady,
    ServerFault,
    TooLarge,
    Unauthorized,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
Steps: TypeAlias = Generator[Attempt | Pause, Reply | None, T]

_ONCE = Retry(attempts=1)
_RENEWALS = 3  # each may meet the next rotation
_RENEWAL_PAUSE_S = 0.1  # TorchServe changes its token first, and the token's file after it
_PAGE = 100


class Core:
    """What a client with these options does.

    Args:
        options: What the client was told.
    """

    def __init__(self, options: Options):
        self._options = options
        self._inference_token = TokenSource(options.token, "inference")
        self._management_token = TokenSource(options.token, "management")

    def predict(
        self,
        image: bytes,
        model: str,
        version: str | None,
        top_k: int | None,
        request_id: str | None = None,
    ) -> Steps[list[Prediction]]:
        """Classify one image file."""
        with _named(request_id or _new_id()) as request_id:
            self._check_size(image)
            options = request_options(top_k)
            call = Call(Operation.PREDICT, model, version, image, options, request_id=request_id)
            reply = yield from self.exchange(call)
            return read_predictions(reply.body)

    def explain(
        self, image: bytes, model: str, version: str | None, request_id: str | None = None
    ) -> Steps[Explanation]:
        """Ask what in an image speaks for its class."""
        with _named(request_id or _new_id()) as request_id:
            self._check_size(image)
            call = Call(Operation.EXPLAIN, model, version, image, request_id=request_id)
            reply = yield from self.exchange(call)
            return read_explanation(reply.body)

    def ready(self) -> Steps[Readiness]:
        """Ask whether the server is ready."""
        operation = Operation.READY if self._options.ready_url else Operation.PING
        try:
            reply = yield from self.exchange(Call(operation), _ONCE)
        except (NotReady, ServerFault, ConnectionFailed, DeadlineExceeded) as err:
            return Readiness(is_ready=False, reason=str(err))
        return Readiness(is_ready=True) if operation is Operation.READY else read_health(reply.body)

    def models(self) -> Steps[list[ModelStatus]]:
        """List every version of every model."""
        found: list[ModelStatus] = []
        for name in (yield from self._names()):
            default = yield from self.exchange(Call(Operation.DESCRIBE, name))
            versions = yield from self.exchange(Call(Operation.DESCRIBE, name, "all"))
            found += read_versions(versions.body, default.body)
        return found

    def feedback(self, request_id: str, label: str) -> Steps[None]:
        """Tell the true class of an image that was classified."""
        given = {"request_id": request_id, "label": label}
        yield from self.exchange(Call(Operation.FEEDBACK, arguments=given))  # twice does no harm

    def exchange(self, call: Call, retry: Retry | None = None) -> Steps[Reply]:
        """Send a call until an answer comes, or an error that another attempt could not cure.

        Args:
            call: What is asked.
            retry: When it is asked again; None takes the client's own rule.

        Raises:
            ClientError: It failed; ``request_id`` is the call's.
        """
        call = call if call.request_id else call.named(_new_id())
        with _named(call.request_id):
            return (yield from self._attempts(call, retry or self._options.retry))

    def _attempts(self, call: Call, retry: Retry) -> Steps[Reply]:
        tokens = self._management_token if call.operation.is_management else self._inference_token
        attempt = renewals = 1
        while True:
            token = tokens.current()
            try:
                reply = yield Attempt(call, token)
                assert reply is not None  # noqa: S101 - only a Pause has none
                raise_error_in(reply.body)
            except Unauthorized as err:
                if renewals > _RENEWALS or not (yield from _renew(tokens, token)):
                    raise Unauthorized(f"{err}: {tokens.advice}") from err
                renewals += 1
            except ClientError as err:
                if not err.is_safe_to_retry or attempt >= retry.attempts:
                    raise
                yield Pause(retry.pause_s(attempt))
                attempt += 1
            else:
                return reply

    def _check_size(self, image: bytes) -> None:
        limit = self._options.max_message_bytes
        if len(image) > limit:
            raise TooLarge(
                f"expected an image of at most {limit:,} bytes, got {len(image):,}: send a smaller "
                "one, or give the client (and the server) a larger limit"
            )

    def _names(self) -> Steps[list[str]]:
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            arguments: Mapping[str, int] = {"limit": _PAGE, "next_page_token": int(page)}
            reply = yield from self.exchange(Call(Operation.LIST, arguments=arguments))
            listed = json.loads(reply.body)
            names += [str(model["modelName"]) for model in listed["models"]]
            page = listed.get("nextPageToken")
        return names


def _new_id() -> str:
    return uuid.uuid4().hex


@contextlib.contextmanager
def _named(request_id: str) -> Iterator[str]:
    """Put a request's name on the error that comes of it."""
    try:
        yield request_id
    except ClientError as err:
        err.request_id = request_id
        raise


def _renew(tokens: TokenSource, refused: str | None) -> Steps[bool]:
    """Read a refused token again, and once more a moment later if it is still the same."""
    if not tokens.can_change:
        return False
    if tokens.renew(refused):
        return True
    yield Pause(_RENEWAL_PAUSE_S)
    return tokens.renew(refused)


def drive(
    steps: Steps[T],
    send: Callable[[Attempt], Reply],
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Carry steps out.

    Args:
        steps: From the core.
        send: Sends an attempt, and raises a `ClientError` if no good answer comes.
        sleep: Waits, in seconds.
    """
    reply: Reply | None = None
    error: ClientError | None = None
    try:
        while True:
            step = steps.send(reply) if error is None else steps.throw(error)
            reply = error = None
            if isinstance(step, Pause):
                sleep(step.seconds)
                continue
            try:
                reply = send(step)
            except ClientError as err:
                error = err
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # PEP 380: what a generator returns


async def drive_async(steps: Steps[T], send: Callable[[Attempt], Awaitable[Reply]]) -> T:
    """Carry steps out as `drive` does, without holding up the event loop."""
    reply: Reply | None = None
    error: ClientError | None = None
    try:
        while True:
            step = steps.send(reply) if error is None else steps.throw(error)
            reply = error = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            try:
                reply = await send(step)
            except ClientError as err:
                error = err
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # PEP 380: what a generator returns
