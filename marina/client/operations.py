"""What a running server is told to serve, whichever way the words travel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from marina.client.answer import read_versions
from marina.client.call import Call, Operation
from marina.client.core import Core, Steps, drive
from marina.client.options import Options, Retry

if TYPE_CHECKING:
    from marina.client.answer import ModelStatus
    from marina.client.call import Reply, Value
    from marina.client.client import Wire

T = TypeVar("T")


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
    `progress` tells of it.
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
            version: Of the model, or an alias in the store; None describes all versions.

        Raises:
            ModelNotFound: It is not served.
            ClientError: The server does not answer, or refuses the token.
        """
        versions = self._exchange(Call(Operation.DESCRIBE, name, version or "all"))
        default = self._exchange(Call(Operation.DESCRIBE, name))
        return read_versions(versions.body, default.body)

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
        settings = {
            "initial_workers": workers,
            "batch_size": batch_size,
            "max_batch_delay": max_batch_delay_ms,
        }
        given = {key: value for key, value in settings.items() if value is not None}
        file = f"{name}-{version}.mar"  # so the store names its archives
        return self._change(Operation.REGISTER, name, None, wait, url=file, **given)

    def scale(
        self, name: str, version: str, workers: int, *, force: bool = False, wait: bool = True
    ) -> str:
        """Change the number of a version's workers.

        Args:
            name: Of the model.
            version: Of the model.
            workers: The number; 0 drains the version first.
            force: Take workers away even if they do not end what they hold within the server's
                drain timeout. Those requests are lost.
            wait: Return when it is done.

        Raises:
            Conflict: Workers do not end what they hold; all is as before.
            ClientError: It is refused, or the workers do not come.
        """
        return self._change(Operation.SCALE, name, version, wait, min_worker=workers, force=force)

    def set_default(self, name: str, version: str, *, wait: bool = True) -> str:
        """Make a version the one that answers whoever names none.

        Raises:
            ClientError: It is not served, or has no workers.
        """
        return self._change(Operation.SET_DEFAULT, name, version, wait)

    def unregister(self, name: str, version: str, *, last: bool = False, wait: bool = True) -> str:
        """Serve a version no more, once its requests are answered.

        Args:
            name: Of the model.
            version: Of the model.
            last: Allow it of a model's only version.
            wait: Return when it is done.

        Raises:
            Conflict: It is the default, or still gets requests.
            ClientError: It is not served.
        """
        return self._change(Operation.UNREGISTER, name, version, wait, last=last)

    def switch(self, name: str, version: str, *, wait: bool = True) -> str:
        """Put a version in the place of the default, with no request lost.

        Raises:
            ClientError: A step failed; all is as before.
        """
        return self._change(Operation.SWITCH, name, version, wait)

    def set_policy(self, name: str, policy: str, *, wait: bool = True) -> str:
        """Say which versions of a model are kept: ``latest``, ``specific``, ``all``, ``keep:N``.

        Raises:
            ClientError: There is no such model or policy, or a version that would go gets requests.
        """
        return self._change(Operation.SET_POLICY, name, None, wait, policy=policy)

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

    def _change(
        self, operation: Operation, name: str, version: str | None, wait: bool, **given: Value
    ) -> str:
        call = Call(operation, name, version, arguments={**given, "synchronous": wait})
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
