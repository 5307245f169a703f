"""Clients that say what is served.

    with ManagementClient("http://127.0.0.1:8081", token=Path("logs/key_file.json")) as client:
        client.register("resnet", "2.0")
        client.switch("resnet", "2.0")

Both ask `marina serve`, which keeps what they change, proves it and drains what goes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from marina.client.answer import read_versions
from marina.client.call import Call, Operation
from marina.client.core import Core, Steps, drive
from marina.client.grpc import GrpcWire
from marina.client.options import Options, Retry
from marina.client.rest import RestWire
from marina.errors import ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from marina.client.answer import ModelStatus
    from marina.client.call import Reply, Value
    from marina.client.client import Wire
    from marina.client.options import OptionFields
    from marina.client.token import Token

T = TypeVar("T")

# Loading a large model on a busy machine takes minutes, and a drain as long as the server allows.
_WAIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How the operation stands that the server runs, or ran last.

    Attributes:
        title: What it does.
        state: ``running``, ``done`` or ``failed``.
        step: What it does now, or did last.
        error: Why it failed; None if it did not.
        details: What lies behind the error, such as a worker's own traceback.
    """

    title: str
    state: str
    step: str = ""
    error: str | None = None
    details: str = ""


class Manager:
    """What `ManagementClient` and `GrpcManagementClient` share.

    What changes something is waited for by default: it returns when the change has taken effect,
    and raises if it has not. With ``wait=False`` it returns when the change is under way, and
    `progress` tells of it; over gRPC only `register` and `scale` have that.
    """

    def __init__(self, wire: Wire, options: Options):
        self._wire = wire
        self._core = Core(options)

    def models(self) -> list[ModelStatus]:
        """List every version of every model.

        Raises:
            ClientError: The server does not answer, or refuses the token.
        """
        return self._run(self._core.models())

    def describe(self, name: str, version: str | None = None) -> list[ModelStatus]:
        """Describe a version of a model.

        Args:
            name: Of the model.
            version: Of the model; None describes all versions.

        Raises:
            ModelNotFound: It is not served.
            ClientError: The server does not answer, or refuses the token.
        """
        versions = self._exchange(Call(Operation.DESCRIBE, name, "all"))
        default = self._exchange(Call(Operation.DESCRIBE, name))
        found = read_versions(versions.body, default.body)
        chosen = [each for each in found if version in {None, each.version}]
        if not chosen:
            there = ", ".join(each.version for each in found)
            raise ModelNotFound(f"{name} is served in {there}, but not in {version}")
        return chosen

    def register(
        self,
        name: str,
        version: str,
        *,
        workers: int | None = None,
        batch_size: int | None = None,
        max_batch_delay_ms: int | None = None,
        wait: bool = True,
    ) -> str:
        """Serve one more version, from the server's model store.

        Args:
            name: Of the model.
            version: Of the model.
            workers: Processes; None takes as many as the archive asks for, and so do the others.
            batch_size: Most requests in one forward pass.
            max_batch_delay_ms: How long a request may wait for mates.
            wait: Return when every worker is ready and the golden images are answered.

        Returns:
            What the server says of it.

        Raises:
            ClientError: It is not served; ``details`` has the worker's own traceback.
        """
        given = {
            "url": f"{name}-{version}.mar",  # so the store names its archives
            "model_name": name,
            "initial_workers": workers,
            "batch_size": batch_size,
            "max_batch_delay": max_batch_delay_ms,
            "synchronous": wait,
        }
        arguments = {key: value for key, value in given.items() if value is not None}
        return self._change(Call(Operation.REGISTER, arguments=arguments))

    def scale(self, name: str, version: str, workers: int, *, wait: bool = True) -> str:
        """Change the number of a version's workers; 0 drains it first.

        Raises:
            ClientError: It is refused, or the workers do not come.
        """
        given: dict[str, Value] = {"min_worker": workers, "max_worker": workers}
        arguments = {**given, "synchronous": wait}
        return self._change(Call(Operation.SCALE, name, version, arguments=arguments))

    def set_default(self, name: str, version: str, *, wait: bool = True) -> str:
        """Make a version the one that answers whoever names none.

        Raises:
            ClientError: It is not served, or has no workers.
        """
        return self._change(Call(Operation.SET_DEFAULT, name, version, arguments=_unless(wait)))

    def unregister(self, name: str, version: str, *, last: bool = False, wait: bool = True) -> str:
        """Serve a version no more, once its requests are answered.

        Args:
            name: Of the model.
            version: Of the model.
            last: Allow it of a model's only version; over REST alone.
            wait: Return when it is done.

        Raises:
            Conflict: It is the default, or still gets requests.
            ClientError: It is not served.
        """
        arguments = {**({"last": True} if last else {}), **_unless(wait)}
        return self._change(Call(Operation.UNREGISTER, name, version, arguments=arguments))

    def switch(self, name: str, version: str, *, wait: bool = True) -> str:
        """Put a version in the place of the default, with no request lost.

        Raises:
            ClientError: A step failed; all is as before.
        """
        return self._change(Call(Operation.SWITCH, name, version, arguments=_unless(wait)))

    def set_policy(self, name: str, policy: str, *, wait: bool = True) -> str:
        """Say which versions of a model are kept: ``latest``, ``specific``, ``all``, ``keep:N``.

        Raises:
            ClientError: There is no such model or policy, or a version that would go gets requests.
        """
        call = Call(Operation.SET_POLICY, name, arguments={"policy": policy, **_unless(wait)})
        return self._change(call)

    def progress(self) -> Progress | None:
        """Tell how the operation stands that the server runs, or ran last; None if there is none.

        Raises:
            ClientError: The server does not answer, or refuses the token.
        """
        told = json.loads(self._exchange(Call(Operation.LIST)).body).get("operation")
        return Progress(**told) if told else None

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def _change(self, call: Call) -> str:
        # Never sent twice: the first may have taken effect.
        reply = self._run(self._core.exchange(call, Retry(attempts=1)))
        return str(json.loads(reply.body).get("status", ""))

    def _exchange(self, call: Call) -> Reply:
        return self._run(self._core.exchange(call))

    def _run(self, steps: Steps[T]) -> T:
        return drive(steps, self._wire.send)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


def _unless(wait: bool) -> dict[str, Value]:
    """Give the argument of a change that is waited for by itself, if it shall not be."""
    return {} if wait else {"synchronous": False}


def _options(address: str, given: OptionFields) -> Options:
    given.setdefault("read_timeout_s", _WAIT_S)
    return replace(Options(**given), management=address)
