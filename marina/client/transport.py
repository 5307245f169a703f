"""What the clients share: everything but how a request travels."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Self

from marina.client.answer import Prediction, read_answer, request_options
from marina.client.image import Image, image_bytes

if TYPE_CHECKING:
    from types import TracebackType


class Transport(abc.ABC):
    """A client of one server. It keeps its connections: make one and use it for many requests."""

    def predict(
        self,
        image: Image,
        model: str = "resnet",
        version: str | None = None,
        top_k: int | None = None,
    ) -> list[Prediction]:
        """Classify one image.

        Args:
            image: The bytes of an image file, the path of one, or a Pillow image.
            model: Name of the model.
            version: Of the model; None takes the server's default.
            top_k: Classes wanted, at least 1; None takes as many as the model's recipe says.

        Returns:
            The predictions, the likeliest first.

        Raises:
            ClientError: No prediction came; the class says why, see `marina.errors`.
        """
        body, request_id = self._send(image_bytes(image), model, version, request_options(top_k))
        return read_answer(body, request_id)

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connections."""

    @abc.abstractmethod
    def _send(
        self, image: bytes, model: str, version: str | None, options: dict[str, str]
    ) -> tuple[bytes, str | None]:
        """Give the answer's body and the server's name for the request.

        Raises:
            ClientError: The transport itself reports an error.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
