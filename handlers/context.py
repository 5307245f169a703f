"""The part of TorchServe's context that the handler uses (ts/context.py, torchserve 0.12).

TorchServe has no type stubs, so its context is described here by shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class MetricsCache(Protocol):
    """Where a worker's metrics go: each becomes a line of its log, which the frontend reads."""

    def add_metric(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        dimensions: list[Any],
        metric_type: object,
    ) -> None:
        """Emit one value; the model's name and the level are added to the dimensions."""


class Context(Protocol):
    """A worker's model and, during a batch, its requests."""

    model_name: str
    manifest: Mapping[str, Any] | None
    model_yaml_config: Mapping[str, Any] | None

    @property
    def system_properties(self) -> Mapping[str, Any]:
        """Hold ``model_dir``, ``gpu_id`` (None without a GPU) and ``batch_size``."""

    @property
    def metrics(self) -> MetricsCache | None:
        """Take metrics; None where a model is loaded without a server."""

    def get_all_request_header(self, idx: int) -> Mapping[str, Any]:
        """Give a request's headers, and per input field a mapping with its content type."""

    def get_request_id(self, idx: int) -> str | None:
        """Give TorchServe's own id of a request."""

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the Content-Type of one answer."""

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of one answer; clients see it over REST alone."""

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        """Set the HTTP status of one answer."""


# A request's input fields: name to bytes, or to what TorchServe parsed of text and JSON.
Item = dict[str, Any]
