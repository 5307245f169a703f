"""What a server comes back to: the state, held against the store."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marina.archive.store import ModelStore
from marina.errors import ServeError
from marina.serve.policy import LATEST, SPECIFIC, highest, restored
from marina.serve.served import from_entry, resolve
from marina.serve.state import State, StateFile, as_asked, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from marina.archive.store import Entry
    from marina.serve.served import Served
    from marina.serve.state import VersionState


@dataclass(frozen=True)
class Kept:
    """What a server serves that keeps its state.

    Attributes:
        state: What, and how.
        models: The archives of it.
        file: Where the state is kept.
    """

    state: State
    models: list[Served]
    file: StateFile


@contextmanager
def kept_state(
    folder: Path,
    keys: Sequence[Ed25519PublicKey] = (),
    *,
    is_new: bool = False,
    on_event: Callable[[str], None] = lambda _: None,
) -> Iterator[Kept]:
    """Hold a store's state for as long as a block runs; no second server has it meanwhile.

    Args:
        folder: The model store.
        keys: One of them must have signed each archive; none asks for no signatures.
        is_new: Put aside what was kept, and begin anew with all of the store.
        on_event: Called with what an operator should know.

    Raises:
        ServeError: Another server has it, or it cannot be restored, see `restore`.
    """
    store, file = ModelStore(folder), StateFile(folder)
    file.claim()
    try:
        aside = file.set_aside() if is_new else None
        if aside is not None:
            on_event(f"the state that was kept is put aside as {aside}")
        state, models = restore(store, file, keys)
        for entry in store.entries():
            if state.find(entry.name, entry.version) is None:
                on_event(
                    f"{entry.name} {entry.version} is in the store and not served: "
                    f"`marina models register {entry.name} {entry.version}`"
                )
        yield Kept(state, models, file)
    finally:
        file.release()


def restore(
    store: ModelStore, file: StateFile, keys: Sequence[Ed25519PublicKey] = ()
) -> tuple[State, list[Served]]:
    """Give what shall be served, and the archives of it.

    Without a state it is all of the store, the highest version of each model the default. With one
    it is exactly that, but for what the models' version policies say of versions that were archived
    since.

    Args:
        store: Where the archives are.
        file: The state's file.
        keys: One of them must have signed each archive; none asks for no signatures.

    Raises:
        ServeError: The state is torn, an archive is missing, or is not the one that was served.
    """
    kept = file.read()
    if kept is None:
        models = resolve([], store.folder, keys)
        return state_of(models), models
    entries = {(entry.name, entry.version): entry for entry in store.entries()}
    archives: list[Served] = []
    state = State(models={})
    for name, model in kept.models.items():
        versions, default = set(model.versions), model.default
        if model.policy != SPECIFIC:
            versions = restored(model.policy, [v for n, v in entries if n == name], default)
        if model.policy == LATEST:
            default = highest(versions)
        for version in sorted(versions, key=lambda v: v != default):
            before = model.versions.get(version)
            served = _archive(name, version, entries, store, file, before, keys)
            archives.append(served)
            state = state.with_version(name, version, before or as_asked(served))
        state = state.with_default(name, default).with_policy(name, model.policy)
    return state, archives


def _archive(
    name: str,
    version: str,
    entries: dict[tuple[str, str], Entry],
    store: ModelStore,
    file: StateFile,
    before: VersionState | None,
    keys: Sequence[Ed25519PublicKey],
) -> Served:
    entry = entries.get((name, version))
    if entry is None:
        raise ServeError(
            f"{file.path} serves {name} {version}, which {store.index} does not list: bring the "
            "archive back, or `marina serve --new-state` begins anew with all of the store"
        )
    if before is not None and before.sha256 != entry.sha256:
        raise ServeError(
            f"{entry.file} is not the archive that was served as {name} {version}: its SHA-256 is "
            f"{entry.sha256[:12]}…, not {before.sha256[:12]}… as {file.path} says. Archive a "
            "changed model as a new version, or `marina serve --new-state` takes what is there"
        )
    return from_entry(entry, store, keys)
