"""Clients for asyncio: each answer is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from marina.client.call import Attempt, Operation, Reply
from marina.client.core import Core, Steps, drive_async
from marina.client.grpc import AsyncGrpcWire
from marina.client.image import Image, image_bytes
from marina.client.options import OptionFields, Options
from marina.client.rest import AsyncRestWire
from marina.errors import ClientError

if TYPE_CHECKING:
    from typing import Unpack

    from marina.client.answer import Explanation, ModelStatus, Prediction, Readiness
    from marina.client.client import Outcome

T = TypeVar("T")


class AsyncWire(Protocol):
    """What carries calls to a server."""

    async def send(self, attempt: Attempt) -> Reply:
        """Give the answer, or raise a `ClientError`."""

    async def close(self) -> None:
        """Close the connections."""


class AwaitingClient:
    """What `AsyncClient` and `AsyncGrpcClient` share: everything but how a call travels.

    A client keeps its connections, and tasks of one event loop may share it.
    """

    def __init__(self, wire: AsyncWire, ready_wire: AsyncWire, options: Options):
        self._wire = wire
        self._ready_wire = ready_wire
        self._core = Core(options)

    async def predict(
        self,
        image: Image,
        model: str = "resnet",
        version: str | None = None,
        top_k: int | None = None,
        *,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Classify one image; see `SyncClient.predict`."""
        content = await _content(image)
        return await self._run(self._core.predict(content, model, version, top_k, request_id))

    async def predict_many(
        self,
        images: Iterable[Image],
        model: str = "resnet",
        version: str | None = None,
        top_k: int | None = None,
        *,
        concurrency: int = 8,
    ) -> list[Outcome]:
        """Classify many images, several at a time; see `SyncClient.predict_many`."""
        outcomes: dict[int, Outcome] = {}
        numbered = enumerate(images)

        async def work() -> None:
            for number, image in numbered:
                try:
                    outcomes[number] = await self.predict(image, model, version, top_k)
                except ClientError as err:
                    outcomes[number] = err

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(work())
        except ExceptionGroup as group:  # what is no image is a TypeError here, too
            raise group.exceptions[0] from group
        return [outcomes[number] for number in range(len(outcomes))]

    async def explain(
        self,
        image: Image,
        model: str = "resnet",
        version: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Explanation:
        """Ask what in an image speaks for its likeliest class; see `SyncClient.explain`."""
        content = await _content(image)
        return await self._run(self._core.explain(content, model, version, request_id))

    async def ready(self) -> Readiness:
        """Ask whether the server is ready; see `SyncClient.ready`."""
        return await self._run(self._core.ready())

    async def models(self) -> list[ModelStatus]:
        """List every version of every model; see `SyncClient.models`."""
        return await self._run(self._core.models())

    async def feedback(self, request_id: str, label: str) -> None:
        """Tell the true class of an image, once it is known; see `SyncClient.feedback`."""
        await self._run(self._core.feedback(request_id, label))

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()
        await self._ready_wire.close()

    async def _run(self, steps: Steps[T]) -> T:
        return await drive_async(steps, self._send)

    async def _send(self, attempt: Attempt) -> Reply:
        is_ready = attempt.call.operation is Operation.READY
        return await (self._ready_wire if is_ready else self._wire).send(attempt)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncClient(AwaitingClient):
    """A client of a served model for asyncio, over REST.

    Args:
        url: Of the server, without ``/predictions``.
        **options: See `Options`.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", **options: Unpack[OptionFields]):
        self.url = url.rstrip("/")
        given = Options(**options)
        wire = AsyncRestWire(self.url, given)
        super().__init__(wire, wire, given)


class AsyncGrpcClient(AwaitingClient):
    """A client of a served model for asyncio, over gRPC. Make it where its event loop runs.

    Args:
        target: ``host:port`` of the server.
        **options: See `Options`. What ``ready_url`` names is asked over HTTP.
    """

    def __init__(self, target: str = "127.0.0.1:7070", **options: Unpack[OptionFields]):
        self.target = target
        given = Options(**options)
        ready = AsyncRestWire(None, given.for_http())
        super().__init__(AsyncGrpcWire(target, given), ready, given)


async def _content(image: Image) -> bytes:
    """Give the file to send; reading or encoding one does not hold up the event loop."""
    if isinstance(image, bytes):
        return image
    return await asyncio.to_thread(image_bytes, image)
