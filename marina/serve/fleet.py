"""The operations on what is served: each takes effect wholly, in TorchServe and in the state.

What adds (register, scale up) changes TorchServe first and the state once the models have answered;
what takes away changes the state first. Whichever step fails, both are put back.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from marina.archive.version import precedence
from marina.errors import NotServed, OperationRefused, ServeError
from marina.serve.policy import LATEST, SPECIFIC, checked_policy, kept
from marina.serve.served import from_entry
from marina.serve.state import State, VersionState, as_asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from marina.archive.store import ModelStore
    from marina.serve.engine import Engine
    from marina.serve.served import Served
    from marina.serve.state import StateFile

    Tell = Callable[[str], None]

# A version is left alone when no request has been seen for so long.
_QUIET_S = 2.0


class Fleet:
    """What is served, and how it is changed. One operation runs at a time.

    Args:
        state: What shall be served.
        archives: The archives of all its versions.
        engine: What serves them.
        store: Where further archives come from.
        file: Keeps the state; None keeps it as long as the server runs.
        check: Called while an operation waits; raises what makes waiting vain.
        keys: One of them must have signed each further archive; none asks for no signatures.

    Attributes:
        state: What is served.
        leaving: Versions that are drained: they shall get no request of our own.
        is_arm: Tells whether a version has a place in a split.
    """

    def __init__(
        self,
        state: State,
        archives: Iterable[Served],
        engine: Engine,
        store: ModelStore,
        file: StateFile | None,
        check: Callable[[], None],
        keys: Sequence[Ed25519PublicKey] = (),
    ):
        self.state = state
        self.leaving: set[tuple[str, str]] = set()
        self.is_arm: Callable[[str, str], bool] = lambda *_: False
        self._archives = {(served.name, served.version): served for served in archives}
        self._engine = engine
        self._store = store
        self._file = file
        self._check = check
        self._keys = keys

    def served(self, name: str, version: str) -> Served:
        """Give the archive of a version that is served.

        Raises:
            NotServed: It is not.
        """
        if self.state.find(name, version) is None:
            raise self._not_served(name, version)
        return self._archives[name, version]

    def named(self, file: str) -> tuple[str, str]:
        """Give the name and version of an archive of the store, by its bare file name.

        An alias in the place of the version stands for the version.

        Raises:
            NotServed: The index does not list it.
        """
        index = self._store.read()
        aliased = (
            index.find(name, alias)
            for name, aliases in index.aliases.items()
            for alias in aliases
            if file == f"{name}-{alias}.mar"
        )
        listed = (entry for entry in index.entries if entry.file == file)
        entry = next(listed, None) or next(aliased, None)
        if entry is not None:
            return entry.name, entry.version
        there = ", ".join(entry.file for entry in index.entries) or "nothing"
        raise NotServed(
            f"{self._store.index} lists {there}, but no {file!r}: archives come from the model "
            "store alone, by their bare file name"
        )

    def meant(self, name: str, version: str) -> str:
        """Give the version that a version or an alias of the store stands for."""
        entry = self._store.entry(name, version)
        return entry.version if entry else version

    def all(self) -> list[tuple[Served, VersionState]]:
        """Give all that is served, the default of each model first."""
        return [
            (self._archives[name, version], model.versions[version])
            for name, model in self.state.models.items()
            for version in sorted(model.versions, key=lambda v: v != model.default)
        ]

    def load_all(self, check: Callable[[], None], tell: Tell) -> None:
        """Load everything into a TorchServe that has just started.

        Raises:
            ServeError: Something does not load.
        """
        self._engine.load(self.all(), check, tell)
        for name, model in self.state.models.items():
            self._make_default(name, model.default)

    def keep(self) -> None:
        """Write the state as it is.

        Raises:
            ServeError: It cannot be written.
        """
        self._commit(self.state)

    def register(
        self,
        name: str,
        version: str,
        tell: Tell,
        *,
        workers: int | None = None,
        batch_size: int | None = None,
        max_batch_delay_ms: int | None = None,
    ) -> None:
        """Serve one more version, from the store's index.

        Args:
            name: Of the model.
            version: Of the model.
            tell: Called with each step.
            workers: Processes; None takes as many as the archive asks for, and so do the others.
            batch_size: Most requests in one forward pass.
            max_batch_delay_ms: How long a request may wait for mates.

        Raises:
            ServeError: It cannot be served; nothing of it is left.
        """
        if self.state.find(name, version) is not None:
            raise OperationRefused(
                f"{name} {version} is served already: `marina models scale` changes its workers; "
                "to change the model, archive it as another version"
            )
        self._refuse_what_would_go(name, version)
        served = self._from_store(name, version)
        wanted = _wanted(served, workers, batch_size, max_batch_delay_ms)
        with self._loaded(served, wanted, tell):
            self._commit(self.state.with_version(name, version, wanted))
        self._obey_policy(name, version, tell)

    def scale(self, name: str, version: str, workers: int, tell: Tell) -> None:
        """Change the number of a version's workers.

        Raises:
            ServeError: It is refused, or the workers do not come; all is as before.
        """
        served = self.served(name, version)
        before = self.state.models[name].versions[version]
        if workers == 0:
            self._refuse_default(name, version, "has no worker to answer with")
            self._drain(served, tell)
        try:
            self._set_workers(served, workers, tell)
            after = VersionState.model_validate({**before.model_dump(), "workers": workers})
            self._commit(self.state.with_version(name, version, after))
        except ServeError:
            with contextlib.suppress(ServeError):
                self._engine.scale(served, before.workers)
            raise
        finally:
            self.leaving.discard((name, version))

    def set_default(self, name: str, version: str, tell: Tell) -> None:
        """Make a version the one that answers whoever names none.

        Raises:
            ServeError: It is not served, or has no workers.
        """
        self._checked_answering(name, version)
        before = self.state.models[name].default
        try:
            self._make_default(name, version)
            self._commit(self.state.with_default(name, version))
        except ServeError:
            self._make_default(name, before)
            raise
        tell(f"{name} {version} is the default")

    def unregister(self, name: str, version: str, tell: Tell, *, last: bool = False) -> None:
        """Serve a version no more, once its requests are answered.

        Args:
            name: Of the model.
            version: Of the model.
            tell: Called with each step.
            last: Allow it of a model's only version, after which the model is gone.

        Raises:
            ServeError: It is the default, or still gets requests; it is served as before.
        """
        served = self.served(name, version)
        if not (last and len(self.state.models[name].versions) == 1):
            self._refuse_default(name, version, "answers whoever names no version")
        try:
            self._drain(served, tell)
            self._commit(self._settled(self.state.without_version(name, version), name, tell))
            self._engine.unload(served)
        finally:
            self.leaving.discard((name, version))
        tell(f"{served} is unregistered")

    def switch(self, name: str, version: str, tell: Tell) -> None:
        """Put a version in the place of the default, which is unregistered.

        No request is lost: the new one has answered rightly before it becomes the default, and the
        old one goes when it has answered all that it was asked.

        Raises:
            ServeError: A step failed; the old version is the default, and the new one is served
                only if it was before.
        """
        if name not in self.state.models:
            raise self._not_served(name, version)
        old = self.served(name, self.state.models[name].default)
        if old.version == version:
            raise OperationRefused(f"{name} {version} is the default already")
        if self.state.find(name, version) is None:
            served = self._from_store(name, version)
            wanted = _wanted(served)
            with self._loaded(served, wanted, tell):
                self._replace(old, served, wanted, tell)
        else:
            self._checked_answering(name, version)
            served, wanted = self.served(name, version), self.state.models[name].versions[version]
            self._replace(old, served, wanted, tell)
        tell(f"{served} has taken the place of {old.version}")

    def set_policy(self, name: str, policy: str, tell: Tell) -> None:
        """Say which versions of a model are kept, see `marina.serve.policy`.

        Raises:
            ServeError: There is no such model or policy, or a version that would go gets requests.
        """
        if name not in self.state.models:
            raise self._not_served(name)
        self._commit(self.state.with_policy(name, checked_policy(policy)))
        self._prune(name, tell)
        tell(f"{name}: policy {self.state.models[name].policy}")

    def _replace(self, old: Served, new: Served, wanted: VersionState, tell: Tell) -> None:
        """Make the new version the default and unregister the old, or put all back."""
        name = new.name
        try:
            self._make_default(name, new.version)
            tell(f"{new} is the default")
            self._drain(old, tell)
            state = self.state.with_version(name, new.version, wanted)
            state = state.with_default(name, new.version).without_version(name, old.version)
            self._commit(self._settled(state, name, tell))
        except ServeError:
            self._make_default(name, old.version)
            tell(f"{old} is the default again")
            self.leaving.add((name, new.version))
            self._engine.drain([name], self._timeout_s, lambda: False, new.version, _QUIET_S)
            raise
        finally:
            self.leaving -= {(name, old.version), (name, new.version)}
        self._engine.unload(old)

    @contextlib.contextmanager
    def _loaded(self, served: Served, wanted: VersionState, tell: Tell) -> Iterator[None]:
        """Have a version loaded; if that or the block fails, nothing of it is left."""
        try:
            self._engine.load([(served, wanted)], self._check, tell)
            self._archives[served.name, served.version] = served
            yield
        except BaseException:
            self._engine.unload(served)
            raise

    def _set_workers(self, served: Served, workers: int, tell: Tell) -> None:
        self._engine.scale(served, workers)
        self._engine.wait_for_workers({served: workers}, self._check, tell)
        if workers:
            self._engine.check_golden([served], self._check)

    def _drain(self, served: Served, tell: Tell) -> None:
        """Wait until a version has answered all that it was asked; it is `leaving` from then on.

        Raises:
            OperationRefused: It gets ever more requests.
        """
        self.leaving.add((served.name, served.version))
        if self.is_arm(served.name, served.version):
            self.leaving.discard((served.name, served.version))
            raise OperationRefused(
                f"{served} has a place in the split of {served.name}: `marina split set` it out, "
                f"or `marina split clear {served.name}`, first"
            )
        tell(f"draining {served}: waiting for its requests")
        if not self._engine.drain(
            [served.name], self._timeout_s, self._is_vain, served.version, _QUIET_S
        ):
            self.leaving.discard((served.name, served.version))
            raise OperationRefused(
                f"{served} still gets requests that name its version, after {self._timeout_s:g} s: "
                "let their clients name another version, or none, and try again"
            )

    def _obey_policy(self, name: str, registered: str, tell: Tell) -> None:
        model = self.state.models[name]
        if model.policy == LATEST and precedence(registered) > precedence(model.default):
            self.set_default(name, registered, tell)
        self._prune(name, tell)

    def _prune(self, name: str, tell: Tell) -> None:
        """Unregister what the policy does not keep."""
        model = self.state.models[name]
        keep = kept(model.policy, model.versions, model.default)
        for version in sorted(model.versions, key=precedence):
            if version not in keep:
                self.unregister(name, version, tell)

    def _settled(self, state: State, name: str, tell: Tell) -> State:
        """Give a state whose policy would not undo it at the next start."""
        model = state.models.get(name)
        if model is None or model.policy == SPECIFIC:
            return state
        entries = [e.version for e in self._store.entries() if e.name == name]
        if restored(model.policy, entries, model.default) == set(model.versions):
            return state
        tell(f"{name}: its version policy was {model.policy}, and is specific from now on")
        return state.with_policy(name, SPECIFIC)

    def _make_default(self, name: str, version: str) -> None:
        management = self._engine.management
        if management.default_version(name) != version:
            management.set_default(name, version)
        answering = management.default_version(name)
        if answering != version:
            raise ServeError(f"{name}: version {answering} is the default instead of {version}")

    def _commit(self, state: State) -> None:
        if self._file is not None:
            self._file.write(state)
        self.state = state

    def _from_store(self, name: str, version: str) -> Served:
        entry = self._store.entry(name, version)
        if entry is None:
            there = ", ".join(f"{e.name} {e.version}" for e in self._store.entries())
            raise NotServed(
                f"{self._store.index} lists {there or 'nothing'}, but no {name} {version}: "
                f"`marina archive RUN --version {version}` adds it"
            )
        return from_entry(entry, self._store, self._keys)

    def _checked_answering(self, name: str, version: str) -> None:
        self.served(name, version)
        if not self.state.models[name].versions[version].workers:
            raise OperationRefused(
                f"{name} {version} has no workers: `marina models scale {name} {version} 1` first"
            )

    def _refuse_default(self, name: str, version: str, because: str) -> None:
        model = self.state.models[name]
        if model.default != version:
            return
        others = [other for other in model.versions if other != version]
        way = (
            f"`marina models set-default {name} {others[0]}` first, or `marina models switch "
            f"{name} {others[0]}`, which does both"
            if others
            else f"it is the only one: register another first, or `marina models unregister {name} "
            f"{version} --last` to drop {name} altogether"
        )
        raise OperationRefused(f"{name} {version} is the default, which {because}: {way}")

    def _refuse_what_would_go(self, name: str, version: str) -> None:
        model = self.state.models.get(name)
        if model is None:
            return
        default = model.default
        if model.policy == LATEST and precedence(version) > precedence(default):
            default = version
        if version not in kept(model.policy, [*model.versions, version], default):
            raise OperationRefused(
                f"{name}'s version policy is {model.policy}, and {version} would go at once: "
                f"`marina models policy {name} specific` keeps what is registered"
            )

    def _not_served(self, name: str, version: str | None = None) -> NotServed:
        served = ", ".join(f"{n} {v}" for n, m in self.state.models.items() for v in m.versions)
        what = f"{name} {version}" if version else name
        return NotServed(f"{what} is not served; {served or 'nothing'} is. `marina models list`")

    def _is_vain(self) -> bool:
        try:
            self._check()
        except ServeError:
            return True
        return False

    @property
    def _timeout_s(self) -> float:
        return self._engine.config.drain_timeout_s


def restored(policy: str, versions: Iterable[str], default: str) -> set[str]:
    """Say which versions of the index a policy serves at a start; not for `specific`."""
    versions = set(versions) | {default}
    if policy == LATEST:
        return {max(versions, key=precedence)}
    return kept(policy, versions, default)


def _wanted(
    served: Served,
    workers: int | None = None,
    batch_size: int | None = None,
    max_batch_delay_ms: int | None = None,
) -> VersionState:
    given = {
        "workers": workers,
        "batch_size": batch_size,
        "max_batch_delay_ms": max_batch_delay_ms,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    return VersionState.model_validate({**as_asked(served).model_dump(), **changes})
