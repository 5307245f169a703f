"""What is served: the state, its archives, and what may not be done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marina.archive.version import precedence
from marina.errors import NotServed, OperationRefused
from marina.serve.policy import LATEST, SPECIFIC, kept, restored
from marina.serve.served import from_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from marina.archive.store import ModelStore
    from marina.serve.served import Served
    from marina.serve.state import State, StateFile, VersionState

    Tell = Callable[[str], None]


class Roster:
    """What is served, as it is kept.

    Args:
        state: What shall be served.
        archives: The archives of all its versions.
        store: Where further archives come from.
        file: Keeps the state; None keeps it as long as the server runs.
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
        store: ModelStore,
        file: StateFile | None,
        keys: Sequence[Ed25519PublicKey] = (),
    ):
        self.state = state
        self.leaving: set[tuple[str, str]] = set()
        self.is_arm: Callable[[str, str], bool] = lambda *_: False
        self._archives = {(served.name, served.version): served for served in archives}
        self._store = store
        self._file = file
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

    def _refuse_arm(self, served: Served) -> None:
        if self.is_arm(served.name, served.version):
            self.leaving.discard((served.name, served.version))
            raise OperationRefused(
                f"{served} has a place in the split of {served.name}: `marina split set` it out, "
                f"or `marina split clear {served.name}`, first"
            )

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

    def _not_served(self, name: str, version: str | None = None) -> NotServed:
        served = ", ".join(f"{n} {v}" for n, m in self.state.models.items() for v in m.versions)
        what = f"{name} {version}" if version else name
        return NotServed(f"{what} is not served; {served or 'nothing'} is. `marina models list`")
