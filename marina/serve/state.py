"""What shall be served: ``state.json`` in the model store, which is ours and not TorchServe's.

    {"format": "marina-state-1",
     "models": {"resnet": {"default": "1.0", "policy": "all", "versions": {
         "1.0": {"file": "resnet-1.0.mar", "sha256": "…", "workers": 1,
                 "batch_size": 8, "max_batch_delay_ms": 5}}}}}

It is written whole after each change that took effect, so that a server which is killed comes back
as it was. A file that is torn, or that something else wrote, is refused.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Annotated, Literal, Self

import pydantic
from pydantic import Field, NonNegativeInt, PositiveInt

from marina.errors import ServeError
from marina.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from marina.serve.served import Served

FILE = "state.json"


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class VersionState(_Part):
    """One version of a model.

    Attributes:
        file: Name of the ``.mar`` in the store.
        sha256: Of that file.
        workers: Processes; 0 keeps the version registered and answers nothing.
        batch_size: Most requests in one forward pass.
        max_batch_delay_ms: How long a request may wait for mates.
    """

    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    workers: NonNegativeInt
    batch_size: PositiveInt
    max_batch_delay_ms: NonNegativeInt


class ModelState(_Part):
    """One model.

    Attributes:
        default: The version that answers whoever names none.
        policy: Which versions are kept, see `marina.serve.policy`.
        versions: Those that are served.
    """

    default: str
    policy: Annotated[str, Field(pattern=r"^(latest|specific|all|keep:[1-9][0-9]*)$")]
    versions: dict[str, VersionState]

    @pydantic.model_validator(mode="after")
    def _default_is_served(self) -> Self:
        if self.default not in self.versions:
            raise ValueError(f"the default {self.default!r} is none of the versions")
        return self


class State(_Part):
    """All that shall be served. It is never changed: each change gives a new one."""

    format: Literal["marina-state-1"] = "marina-state-1"
    models: dict[str, ModelState]

    def find(self, name: str, version: str) -> VersionState | None:
        """Give one version, None if it is not served."""
        model = self.models.get(name)
        return model.versions.get(version) if model else None

    def with_version(self, name: str, version: str, state: VersionState) -> State:
        """Give it with a version added or changed; the first of a model becomes its default."""
        model = self.models.get(name)
        if model is None:
            model = ModelState(default=version, policy="all", versions={version: state})
        return self._with(name, _changed(model, versions={**model.versions, version: state}))

    def without_version(self, name: str, version: str) -> State:
        """Give it without a version; a model without versions goes too."""
        model = self.models[name]
        rest = {key: value for key, value in model.versions.items() if key != version}
        if rest:
            return self._with(name, _changed(model, versions=rest))
        return State(models={key: value for key, value in self.models.items() if key != name})

    def with_default(self, name: str, version: str) -> State:
        """Give it with another default."""
        return self._with(name, _changed(self.models[name], default=version))

    def with_policy(self, name: str, policy: str) -> State:
        """Give it with another policy."""
        return self._with(name, _changed(self.models[name], policy=policy))

    def _with(self, name: str, model: ModelState) -> State:
        return State(models={**self.models, name: model})


def _changed(model: ModelState, **changes: object) -> ModelState:
    """Give a copy; unlike pydantic's own, it is checked."""
    values = {"default": model.default, "policy": model.policy, "versions": model.versions}
    return ModelState.model_validate({**values, **changes})


def as_asked(served: Served) -> VersionState:
    """Give a version as its archive asks to be served."""
    return VersionState(
        file=served.file.name,
        sha256=served.sha256,
        workers=served.workers,
        batch_size=served.batch_size,
        max_batch_delay_ms=served.max_batch_delay_ms,
    )


def as_wanted(
    served: Served,
    workers: int | None = None,
    batch_size: int | None = None,
    max_batch_delay_ms: int | None = None,
) -> VersionState:
    """Give a version as its archive asks to be served, but for what is given."""
    given = {
        "workers": workers,
        "batch_size": batch_size,
        "max_batch_delay_ms": max_batch_delay_ms,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    return VersionState.model_validate({**as_asked(served).model_dump(), **changes})


def state_of(models: Iterable[Served]) -> State:
    """Give the state of models that are served as their archives ask, the defaults first."""
    state = State(models={})
    for served in models:
        state = state.with_version(served.name, served.version, as_asked(served))
    return state


class StateFile:
    """The state's file in one store, and the lock that keeps a second server away from it.

    Args:
        folder: The store.
    """

    def __init__(self, folder: Path):
        self.path = folder / FILE
        self._lock: IO[str] | None = None

    def claim(self) -> None:
        """Take the store for this process; the lock goes with it, however it ends.

        Raises:
            ServeError: Another server has it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(".serve.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ServeError(
                f"another `marina serve` runs on {self.path.parent} and keeps its state: use "
                "`marina models` to change what it serves, or name the archives to serve here"
            ) from None
        self._lock = lock

    def release(self) -> None:
        """Give the store back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read(self) -> State | None:
        """Read the state; None if there never was one.

        Raises:
            ServeError: The file is torn, or something else wrote it.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as err:
            raise self._refusal(str(err)) from err
        try:
            state = State.model_validate(json.loads(text))
        except pydantic.ValidationError as err:
            first = err.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise self._refusal(f"{place}: {first['msg']}") from err
        except ValueError as err:
            raise self._refusal(f"it is torn, or no JSON: {err}") from err
        _check_files(state.models, self._refusal)
        return state

    def write(self, state: State) -> None:
        """Write the state, whole.

        Raises:
            ServeError: The disk is full, or the store cannot be written; the old file is as it was.
        """
        try:
            write_whole(self.path, _canonical(state))
        except OSError as err:
            raise ServeError(
                f"cannot write {self.path} ({err.strerror or err}): free some space or mend its "
                "permissions. The change is taken back"
            ) from err

    def set_aside(self) -> Path | None:
        """Rename the file to one that nothing reads.

        Returns:
            The new name, None if there was no file.
        """
        aside = self.path.with_suffix(".json.old")
        try:
            self.path.replace(aside)
        except FileNotFoundError:
            return None
        return aside

    def _refusal(self, reason: str) -> ServeError:
        return ServeError(
            f"{self.path} is not a state that Marina wrote whole ({reason}). Nothing is served "
            "from it: bring back a copy, or `marina serve --new-state` puts it aside and begins "
            "anew with all of the store"
        )


def _canonical(state: State) -> str:
    """Give the same text for the same state, in whatever order it came about."""
    return json.dumps(state.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"


def _check_files(models: Mapping[str, ModelState], refusal: Callable[[str], ServeError]) -> None:
    for name, model in models.items():
        for version, state in model.versions.items():
            if PurePath(state.file).name != state.file:
                raise refusal(f"{name} {version}: {state.file!r} is no file of the store")
