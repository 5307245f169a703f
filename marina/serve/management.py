"""What TorchServe's management API tells of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Condition:
    """How one version of a model fares.

    Attributes:
        version: Of the model.
        ready: Number of workers that have loaded it.
        wanted: Number of workers that it shall have.
        pending: Requests that wait in its queue.
        max_batch_delay_s: How long a worker waits for a batch to fill.
    """

    version: str
    ready: int
    wanted: int
    pending: int
    max_batch_delay_s: float


class Management:
    """A connection to the management API of a server on this machine.

    Args:
        url: Of the API.
    """

    def __init__(self, url: str):
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy does not reach this machine's loopback

    def conditions(self, name: str) -> list[Condition]:
        """Describe every version of a model; the empty list if the API does not answer so yet."""
        return [_condition(version) for version in self._describe(f"{quote(name)}/all")]

    def default_version(self, name: str) -> str | None:
        """Give the version that answers whoever names none."""
        return next((str(model["modelVersion"]) for model in self._describe(quote(name))), None)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _describe(self, path: str) -> list[dict[str, Any]]:
        try:
            response = self._session.get(f"{self._url}/models/{path}", timeout=_TIMEOUT_S)
            return list(response.json()) if response.ok else []
        except requests.RequestException:
            return []


def _condition(model: dict[str, Any]) -> Condition:
    return Condition(
        version=str(model["modelVersion"]),
        ready=sum(worker["status"] == "READY" for worker in model["workers"]),
        wanted=int(model["minWorkers"]),
        pending=int(model["jobQueueStatus"]["pendingRequests"]),
        max_batch_delay_s=model["maxBatchDelay"] / 1000,
    )
