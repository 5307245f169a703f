"""Clients that say what is served.

    with ManagementClient("http://127.0.0.1:8081", token=Path("logs/key_file.json")) as client:
        client.register("resnet", "2.0")
        client.switch("resnet", "2.0")

Both ask `marina serve`, which keeps what they change, proves it and drains what goes.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from marina.client.call import Call, Operation
from marina.client.grpc import GrpcWire
from marina.client.operations import Manager
from marina.client.options import Options, Retry
from marina.client.rest import RestWire

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from marina.client.call import Value
    from marina.client.options import OptionFields
    from marina.client.token import Token

# Loading a large model on a busy machine takes minutes, and a drain as long as the server allows.
_WAIT_S = 900.0


class ManagementClient(Manager):
    """Says over REST what is served.

    Args:
        url: Of the management side.
        **options: See `Options`.
    """

    def __init__(self, url: str = "http://127.0.0.1:8081", **options: Unpack[OptionFields]):
        given = _options(url, options)
        super().__init__(RestWire(None, given), given)

    def splits(self) -> list[dict[str, Any]]:
        """Give the split of each model that has one.

        Raises:
            Conflict: The server has no gateway.
        """
        return list(json.loads(self._exchange(Call(Operation.SPLITS)).body)["splits"])

    def set_split(
        self,
        model: str,
        weights: Mapping[str, float],
        *,
        sticky_header: str | None = None,
        force_header: str | None = None,
        shadow: Mapping[str, float] | None = None,
        keep_images: int = 0,
    ) -> dict[str, Any]:
        """Share a model's unversioned requests out among its versions; in force on return.

        Args:
            model: Its name.
            weights: Percent of each version, with the sum 100.
            sticky_header: Requests with the same value of it go to the same version.
            force_header: A request that names a version in it goes there, for testers.
            shadow: Percent of all requests of which each of these versions gets a copy.
            keep_images: Percent of the copies whose image a running rollout may see.

        Returns:
            The split.

        Raises:
            Conflict: A version is not ready, or the server has no gateway; all is as before.
            ClientError: The split is not valid.
        """
        arguments: dict[str, Value] = {
            "weights": _shares(weights),
            "shadow": _shares(shadow or {}),
            "sticky_header": sticky_header or "",
            "force_header": force_header or "",
            "keep_images": keep_images,
        }
        call = Call(Operation.SET_SPLIT, model, arguments=arguments)
        return dict(json.loads(self._exchange(call).body))  # twice does no harm

    def clear_split(self, model: str) -> None:
        """Send all unversioned requests of a model to its default version again.

        Raises:
            ClientError: It has no split.
        """
        self._run(self._core.exchange(Call(Operation.CLEAR_SPLIT, model), Retry(attempts=1)))

    def feedback(self, request_id: str, label: str) -> None:
        """Tell the true class of an image that was classified; see `Client.feedback`.

        Raises:
            ClientError: It was not kept.
        """
        self._run(self._core.feedback(request_id, label))


class GrpcManagementClient(Manager):
    """Says over gRPC what is served.

    Args:
        target: ``host:port`` of the management side.
        **options: See `Options`.
    """

    def __init__(self, target: str = "127.0.0.1:7071", **options: Unpack[OptionFields]):
        given = _options(target, options)
        super().__init__(GrpcWire(None, given), given)


def connect(url: str | None, *, grpc: bool, token: Token | None = None) -> Manager:
    """Open a client for the protocol, at its default address unless one is given."""
    if grpc:
        port = os.environ.get("MARINA_GRPC_MANAGEMENT_PORT", "7071")
        return GrpcManagementClient(url or f"127.0.0.1:{port}", token=token)
    port = os.environ.get("MARINA_MANAGEMENT_PORT", "8081")
    return ManagementClient(url or f"http://127.0.0.1:{port}", token=token)


def _shares(shares: Mapping[str, float]) -> str:
    return " ".join(f"{version}={percent:g}" for version, percent in shares.items())


def _options(address: str, given: OptionFields) -> Options:
    given.setdefault("read_timeout_s", _WAIT_S)
    return replace(Options(**given), management=address)
