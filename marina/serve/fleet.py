"""The operations on what is served: each takes effect wholly, in TorchServe and in the state.

What adds (register, scale up) changes TorchServe first and the state once the models have answered;
what takes away changes the state first. Whichever step fails, both are put back.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from marina.archive.version import precedence
from marina.errors import OperationRefused, ServeError
from marina.serve.policy import LATEST, checked_policy, highest, kept
from marina.serve.roster import Roster
from marina.serve.state import VersionState, as_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from marina.archive.store import ModelStore
    from marina.serve.engine import Engine
    from marina.serve.served import Served
    from marina.serve.state import State, StateFile

    Tell = Callable[[str], None]

# A version is left alone when no request has been seen for so long.
_QUIET_S = 2.0


class Fleet(Roster):
    """What is served, and how it is changed. One operation runs at a time.

    Args:
        state: See `Roster`, as of the others that are not named here.
        archives: See there.
        engine: What serves them.
        store: See there.
        file: See there.
        check: Called while an operation waits; raises what makes waiting vain.
        keys: See there.
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
        super().__init__(state, archives, store, file, keys)
        self._engine = engine
        self._check = check

    def load_all(self, check: Callable[[], None], tell: Tell) -> None:
        """Load everything into a TorchServe that has just started.

        Raises:
            ServeError: Something does not load.
        """
        self._engine.load(self.all(), check, tell)
        for name, model in self.state.models.items():
            self._engine.management.make_default(name, model.default)

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
        wanted = as_wanted(served, workers, batch_size, max_batch_delay_ms)
        with self._loaded(served, wanted, tell):
            self._commit(self.state.with_version(name, version, wanted))
        self._obey_policy(name, version, tell)

    def scale(
        self, name: str, version: str, workers: int, tell: Tell, *, force: bool = False
    ) -> None:
        """Change the number of a version's workers.

        Args:
            name: Of the model.
            version: Of the model.
            workers: The number; 0 drains the version first.
            tell: Called with each step.
            force: Take workers away that do not end what they hold within the drain timeout.

        Raises:
            ServeError: It is refused, or the workers do not come; all is as before.
        """
        served = self.served(name, version)
        before = self.state.models[name].versions[version]
        if workers == 0:
            self._refuse_default(name, version, "has no worker to answer with")
            self._drain(served, tell)
        try:
            self._set_workers(served, workers, tell, force=force)
            after = VersionState.model_validate({**before.model_dump(), "workers": workers})
            self._commit(self.state.with_version(name, version, after))
        except ServeError:
            with contextlib.suppress(ServeError):
                self._engine.scale(served, before.workers, force=True)
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
            self._engine.management.make_default(name, version)
            self._commit(self.state.with_default(name, version))
        except ServeError:
            self._engine.management.make_default(name, before)
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
        self._retire(served, lambda state: self._settled(state, name, tell), tell)

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
            wanted = as_wanted(served)
            with self._loaded(served, wanted, tell):
                self._replace(old, served, wanted, tell)
        else:
            self._checked_answering(name, version)
            served, wanted = self.served(name, version), self.state.models[name].versions[version]
            self._replace(old, served, wanted, tell)
        tell(f"{served} has taken the place of {old.version}")

    def set_policy(self, name: str, policy: str, tell: Tell) -> None:
        """Say which versions of a model are kept, see `marina.serve.policy`.

        With `latest`, the highest version becomes the default.

        Raises:
            ServeError: There is no such model or policy, or a version that would go gets requests;
                the policy is as before, and what was done until then stays done.
        """
        if name not in self.state.models:
            raise self._not_served(name)
        policy, model = checked_policy(policy), self.state.models[name]
        if policy == LATEST and model.default != highest(model.versions):
            self.set_default(name, highest(model.versions), tell)
        self._prune(name, policy, tell)
        self._commit(self.state.with_policy(name, policy))
        tell(f"{name}: policy {policy}")

    def _retire(self, served: Served, settled: Callable[[State], State], tell: Tell) -> None:
        name, version = served.name, served.version
        try:
            self._drain(served, tell)
            self._commit(settled(self.state.without_version(name, version)))
            self._engine.unload(served)
        finally:
            self.leaving.discard((name, version))
        tell(f"{served} is unregistered")

    def _replace(self, old: Served, new: Served, wanted: VersionState, tell: Tell) -> None:
        """Make the new version the default and unregister the old, or put all back."""
        name = new.name
        try:
            self._engine.management.make_default(name, new.version)
            tell(f"{new} is the default")
            self._drain(old, tell)
            state = self.state.with_version(name, new.version, wanted)
            state = state.with_default(name, new.version).without_version(name, old.version)
            self._commit(self._settled(state, name, tell))
        except ServeError:
            self._engine.management.make_default(name, old.version)
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

    def _set_workers(self, served: Served, workers: int, tell: Tell, *, force: bool) -> None:
        self._engine.scale(served, workers, force=force)
        self._engine.wait_for_workers({served: workers}, self._check, tell)
        if workers:
            self._engine.check_golden([served], self._check)

    def _drain(self, served: Served, tell: Tell) -> None:
        """Wait until a version has answered all that it was asked; it is `leaving` from then on.

        Raises:
            OperationRefused: It gets ever more requests.
        """
        self.leaving.add((served.name, served.version))
        self._refuse_arm(served)
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
        self._prune(name, model.policy, tell)

    def _prune(self, name: str, policy: str, tell: Tell) -> None:
        """Unregister what a policy does not keep."""
        model = self.state.models[name]
        keep = kept(policy, model.versions, model.default)
        for version in sorted(model.versions, key=precedence):
            if version not in keep:
                self._retire(self.served(name, version), lambda state: state, tell)

    def _is_vain(self) -> bool:
        try:
            self._check()
        except ServeError:
            return True
        return False

    @property
    def _timeout_s(self) -> float:
        return self._engine.config.drain_timeout_s
