"""Clients that wait for each answer."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from marina.client.call import Attempt, Operation, Reply
from marina.client.core import Core, Steps, drive
from marina.client.grpc import GrpcWire
from marina.client.image import Image, image_bytes
from marina.client.options import OptionFields, Options
from marina.client.rest import RestWire
from marina.errors import ClientError

if TYPE_CHECKING:
    from typing import Unpack

    from marina.client.answer import Explanation, ModelStatus, Prediction, Readiness

T = TypeVar("T")
Outcome = list["Prediction"] | ClientError


class Wire(Protocol):
    """What carries calls to a server."""

    def send(self, attempt: Attempt) -> Reply:
        """Give the answer, or raise a `ClientError`."""

    def close(self) -> None:
        """Close the connections."""


class SyncClient:
    """What `Client` and `GrpcClient` share: everything but how a call travels.

    A client keeps its connections, and threads may share it: make one and use it for many
    requests.
    """

    def __init__(self, wire: Wire, ready_wire: Wire, options: Options):
        self._wire = wire
        self._ready_wire = ready_wire
        self._core = Core(options)

    def predict(
        self,
        image: Image,
        model: str = "resnet",
        version: str | None = None,
        top_k: int | None = None,
        *,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Classify one image.

        Args:
            image: The bytes of an image file, the path of one, a binary stream, or a Pillow image.
            model: Name of the model.
            version: Of the model; None takes the server's default.
            top_k: Classes wanted, at least 1; None takes as many as the model's recipe says.
            request_id: The client's name for the request; None makes one up.

        Returns:
            The predictions, the likeliest first.

        Raises:
            ClientError: No prediction came; the class says why, see `marina.errors`.
        """
        return self._run(self._core.predict(image_bytes(image), model, version, top_k, request_id))

    def predict_many(
        self,
        images: Iterable[Image],
        model: str = "resnet",
        version: str | None = None,
        top_k: int | None = None,
        *,
        concurrency: int = 8,
    ) -> list[Outcome]:
        """Classify many images, several at a time.

        Args:
            images: As for `predict`; they are taken only as they are sent.
            model: Name of the model.
            version: Of the model; None takes the server's default.
            top_k: Classes wanted, at least 1; None takes as many as the model's recipe says.
            concurrency: Requests on their way at once. A server fills its batches only if there
                are as many as a batch holds.

        Returns:
            For each image, in order, its predictions or the error that befell it alone.
        """
        outcomes: dict[int, Outcome] = {}
        numbered = _Shared(enumerate(images))

        def work() -> None:
            for number, image in numbered:
                try:
                    outcomes[number] = self.predict(image, model, version, top_k)
                except ClientError as err:
                    outcomes[number] = err

        with ThreadPoolExecutor(concurrency, thread_name_prefix="predict") as pool:
            try:
                for worker in [pool.submit(work) for _ in range(concurrency)]:
                    worker.result()
            finally:
                numbered.end()  # after Ctrl-C no further image is sent
        return [outcomes[number] for number in range(len(outcomes))]

    def explain(
        self,
        image: Image,
        model: str = "resnet",
        version: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Explanation:
        """Ask what in an image speaks for its likeliest class.

        Args:
            image: As for `predict`.
            model: Name of the model.
            version: Of the model; None takes the server's default.
            request_id: The client's name for the request; None makes one up.

        Raises:
            NotOffered: The server or the model gives no explanations.
            ClientError: No explanation came.
        """
        return self._run(self._core.explain(image_bytes(image), model, version, request_id))

    def ready(self) -> Readiness:
        """Ask whether the server is ready; one that cannot be reached is not.

        With the option ``ready_url`` it tells whether every model answers. Without it the server
        is pinged, and TorchServe's own health is blind to workers that have just died.
        """
        return self._run(self._core.ready())

    def models(self) -> list[ModelStatus]:
        """List every version of every model.

        Raises:
            ClientError: The management API does not answer, or the option ``management`` does not
                say where it is.
        """
        return self._run(self._core.models())

    def feedback(self, request_id: str, label: str) -> None:
        """Tell the true class of an image that was classified, once it is known; REST alone.

        A rollout counts it for the version that answered. The first label of a request counts.

        Args:
            request_id: What `predict` was given, or the answer's ``X-Request-Id``.
            label: One of the model's classes.

        Raises:
            NotOffered: Over gRPC.
            ClientError: It was not kept, or the option ``management`` does not say where to.
        """
        self._run(self._core.feedback(request_id, label))

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()
        self._ready_wire.close()

    def _run(self, steps: Steps[T]) -> T:
        return drive(steps, self._send)

    def _send(self, attempt: Attempt) -> Reply:
        is_ready = attempt.call.operation is Operation.READY
        return (self._ready_wire if is_ready else self._wire).send(attempt)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client(SyncClient):
    """A client of a served model, over REST.

    Args:
        url: Of the server, without ``/predictions``.
        **options: See `Options`.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", **options: Unpack[OptionFields]):
        self.url = url.rstrip("/")
        given = Options(**options)
        wire = RestWire(self.url, given)
        super().__init__(wire, wire, given)


class GrpcClient(SyncClient):
    """A client of a served model, over gRPC.

    Args:
        target: ``host:port`` of the server.
        **options: See `Options`. What ``ready_url`` names is asked over HTTP.
    """

    def __init__(self, target: str = "127.0.0.1:7070", **options: Unpack[OptionFields]):
        self.target = target
        given = Options(**options)
        super().__init__(GrpcWire(target, given), RestWire(None, given.for_http()), given)


class _Shared(Iterator[T]):
    """An iterator that several threads take from."""

    def __init__(self, items: Iterator[T]):
        self._items = items
        self._lock = threading.Lock()

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)

    def end(self) -> None:
        """Give nothing more."""
        with self._lock:
            self._items = iter(())
