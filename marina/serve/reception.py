"""What the management side answers, whichever way it was asked.

It speaks TorchServe's own management dialect, so that what is written for TorchServe works here;
but every change goes through `Fleet`, which keeps the state, drains and proves. What TorchServe
has no words for is added: ``switch``, ``policy``, ``/ready``, and ``"marina"`` in a description.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from marina.client.call import Operation
from marina.errors import ArchiveError, MarinaError, NotServed, OperationRefused, ServeError
from marina.serve.feedback import add_feedback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from marina.client.call import Call, Value
    from marina.serve.engine import Engine
    from marina.serve.fleet import Fleet
    from marina.serve.front import Front
    from marina.serve.health import Health
    from marina.serve.operations import Operations, Tell
    from marina.serve.served import Served
    from marina.serve.state import VersionState

    Work = Callable[[Tell], None]

Answer = tuple[int, Any]

# As with TorchServe, these answer before they are done, unless told to be synchronous.
_SPLITS = frozenset({Operation.SPLITS, Operation.SET_SPLIT, Operation.CLEAR_SPLIT})
_IN_BACKGROUND = frozenset({Operation.REGISTER, Operation.SCALE})


class Reception:
    """Answers calls to the management side.

    Args:
        fleet: Does what changes something.
        operations: Runs it.
        health: Knows whether the server is ready.
        engine: Describes what TorchServe does.
        front: Holds the splits; None if there is no gateway.
        log_dir: Where labels are kept.
    """

    def __init__(
        self,
        fleet: Fleet,
        operations: Operations,
        health: Health,
        engine: Engine,
        front: Front | None,
        log_dir: Path,
    ):
        self._fleet = fleet
        self._operations = operations
        self._health = health
        self._engine = engine
        self._front = front
        self._log_dir = log_dir

    def answer(self, call: Call, authorization: str | None) -> Answer:
        """Answer a call: an HTTP status, and what becomes JSON.

        Args:
            call: What is asked.
            authorization: The ``Authorization`` header; a probe of readiness needs none.
        """
        try:
            if call.operation is Operation.READY:
                return self._ready(call)
            return self._refusal(authorization) or self._answer(call)
        except MarinaError as err:
            return error_answer(err)

    def _refusal(self, authorization: str | None) -> Answer | None:
        """Refuse whoever does not show the token; None is no refusal."""
        keys = self._engine.keys
        if not self._engine.config.tokens:
            return None
        try:
            admitted = keys is not None and keys.admits("management", authorization)
        except ServeError:
            keys = None
        if keys is None:
            return _not_ready("the server starts, and has no tokens yet: GET /ready tells when")
        if admitted:
            return None
        return 401, {
            "code": 401,
            "type": "InvalidKeyException",
            "message": "expected the management token, as `Authorization: Bearer TOKEN`: "
            "`marina token --management` prints it",
        }

    def _answer(self, call: Call) -> Answer:
        if call.operation is Operation.LIST:
            return self._list()
        if call.operation is Operation.DESCRIBE:
            return 200, self._describe(call.model, call.version)
        if call.operation is Operation.FEEDBACK:
            return 200, add_feedback(self._log_dir, call.arguments)
        if call.operation in _SPLITS:
            return 200, self._split(call)
        return self._run(call)

    def _ready(self, call: Call) -> Answer:
        """Tell whether all is ready; of a version, whether it has a worker that takes requests."""
        if call.model:
            problems = self._health.idle(call.model, call.version)
        else:
            problems = self._health.problems()
        if not problems:
            return 200, {"status": "ready"}
        return _not_ready("; ".join(problems))

    def _list(self) -> Answer:
        models = [
            {"modelName": name, "modelUrl": model.versions[model.default].file}
            for name, model in self._fleet.state.models.items()
        ]
        last = self._operations.last
        return 200, {"models": models, "operation": asdict(last) if last else None}

    def _describe(self, name: str, version: str | None) -> list[dict[str, Any]]:
        if version is not None and version != "all":
            version = self._fleet.meant(name, version)
            self._fleet.served(name, version)
        elif name not in self._fleet.state.models:
            raise NotServed(f"{name} is not served")
        model = self._fleet.state.models[name]
        told = {each.version: each.told for each in self._engine.management.conditions(name)}
        wanted = list(model.versions) if version == "all" else [version or model.default]
        return [
            {
                **_untold(model.versions[each]),
                **told.get(each, {}),
                **self._known(self._fleet.served(name, each)),
            }
            for each in wanted
        ]

    def _known(self, served: Served) -> dict[str, Any]:
        """Give what TorchServe does not know of a version."""
        model = self._fleet.state.models[served.name]
        return {
            "modelName": served.name,
            "modelVersion": served.version,
            "modelUrl": served.file.name,
            "marina": {
                "default": model.default == served.version,
                "workers": model.versions[served.version].workers,
                "policy": model.policy,
                "sha256": served.sha256,
                "accuracy": served.accuracy,
            },
        }

    def _split(self, call: Call) -> Any:
        """Show or change splits. They wait for no other operation: a rollback is in a hurry."""
        if self._front is None:
            raise OperationRefused(
                "this server has no gateway to split traffic: serve without --no-gateway"
            )
        if call.operation is Operation.SET_SPLIT:
            return self._front.set_split(call.model, call.arguments).as_dict()
        if call.operation is Operation.CLEAR_SPLIT:
            self._front.clear_split(call.model)
        return {"splits": [split.as_dict() for split in self._front.splits.values()]}

    def _run(self, call: Call) -> Answer:
        subject = (call.model, call.version)
        if call.operation is Operation.REGISTER:
            subject = self._fleet.named(str(call.arguments.get("url", "")))
        verb = call.operation.name.lower().replace("_", "-")
        title = " ".join(filter(None, (verb, *subject)))
        wait = _is_true(call.arguments.get("synchronous", call.operation not in _IN_BACKGROUND))
        report = self._operations.run(title, self._work(call), wait=wait)
        return (200 if report.state == "done" else 202), {"status": report.step or title}

    def _work(self, call: Call) -> Work:
        """Give what an operation does.

        Raises:
            OperationRefused: An argument is missing, or not what it should be.
        """
        fleet, name, given = self._fleet, call.model, call.arguments
        if call.operation is Operation.SET_POLICY:
            policy = str(given.get("policy", ""))
            return lambda tell: fleet.set_policy(name, policy, tell)
        if call.operation is Operation.REGISTER:
            return self._registration(call)
        if name not in fleet.state.models:
            raise NotServed(f"{name} is not served: `marina models list` lists what is")
        version = fleet.meant(name, call.version or fleet.state.models[name].default)
        if call.operation is Operation.SCALE:
            workers = _number(given, "min_worker")
            if workers is None:
                workers = 1
            force = _is_true(given.get("force", False))
            return lambda tell: fleet.scale(name, version, workers, tell, force=force)
        if call.operation is Operation.SET_DEFAULT:
            return lambda tell: fleet.set_default(name, version, tell)
        if call.operation is Operation.SWITCH:
            return lambda tell: fleet.switch(name, version, tell)
        last = _is_true(given.get("last", False))
        return lambda tell: fleet.unregister(name, version, tell, last=last)

    def _registration(self, call: Call) -> Work:
        name, version = self._fleet.named(str(call.arguments.get("url", "")))
        if call.model not in {"", name}:
            raise OperationRefused(f"{call.arguments['url']} is {name}, not {call.model}")
        workers = _number(call.arguments, "initial_workers")
        batch_size = _number(call.arguments, "batch_size")
        delay_ms = _number(call.arguments, "max_batch_delay")
        return lambda tell: self._fleet.register(
            name,
            version,
            tell,
            workers=workers,
            batch_size=batch_size,
            max_batch_delay_ms=delay_ms,
        )


def error_answer(err: MarinaError) -> Answer:
    """Give the answer that an error stands for."""
    status = _status(err)
    body = {"code": status, "type": type(err).__name__, "message": str(err)}
    details = str(getattr(err, "details", ""))
    return status, {**body, "details": details} if details else body


def _not_ready(message: str) -> Answer:
    return 503, {"code": 503, "type": "NotReadyException", "message": message}


def _status(err: MarinaError) -> int:
    if isinstance(err, NotServed):
        return 404
    if isinstance(err, OperationRefused | ArchiveError):
        return 409
    return 500 if isinstance(err, ServeError) else 400


def _untold(state: VersionState) -> dict[str, Any]:
    """Describe a version that TorchServe has not been told of yet, as it would itself."""
    return {
        "minWorkers": state.workers,
        "maxWorkers": state.workers,
        "batchSize": state.batch_size,
        "maxBatchDelay": state.max_batch_delay_ms,
        "deviceType": "",
        "jobQueueStatus": {"pendingRequests": 0},
        "workers": [],
    }


def _is_true(value: Value) -> bool:
    """Read a truth value, which REST has as a word."""
    return str(value).lower() == "true"


def _number(given: Mapping[str, Value], key: str) -> int | None:
    """Read a whole number; None if it is not given, which gRPC says with 0.

    Raises:
        OperationRefused: It is none.
    """
    value = given.get(key)
    if value is None:
        return None
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0:
        raise OperationRefused(f"{key} is a whole number of 0 or more, not {value!r}")
    return number
