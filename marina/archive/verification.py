"""Holding a whole model store against its index, its archives' own digests, and a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marina.archive.inspection import inspect
from marina.archive.signature import check_signature
from marina.errors import ArchiveError
from marina.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from marina.archive.store import Entry, ModelStore


@dataclass(frozen=True)
class Verified:
    """What became of one file of the store.

    Attributes:
        file: Its name.
        entry: Its line in the index; None for a file that has none.
        faults: What is wrong with it; empty if nothing is.
        signed_by: The fingerprint of the key that signed it; None where none was asked for.
    """

    file: str
    entry: Entry | None
    faults: tuple[str, ...]
    signed_by: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina store verify --json`` prints it."""
        return {
            "file": self.file,
            "name": self.entry and self.entry.name,
            "version": self.entry and self.entry.version,
            "sha256": self.entry and self.entry.sha256,
            "signed_by": self.signed_by,
            "verified": not self.faults,
            "faults": list(self.faults),
        }


def verify(
    store: ModelStore,
    keys: Sequence[Ed25519PublicKey] = (),
    *,
    name: str | None = None,
    version: str | None = None,
) -> list[Verified]:
    """Verify archives: that each is the indexed one, safe, whole, and signed if keys are given.

    Args:
        store: To look at.
        keys: Any of which must have signed each archive; none asks for no signature.
        name: Of the one model to look at; None looks at all, and at files without a line too.
        version: Of that model, or an alias; None looks at all.

    Raises:
        ArchiveError: The index is damaged, or there is no such archive.
    """
    if name is not None and version is not None:
        return [_verified(store, store.find(name, version), keys)]
    entries = [entry for entry in store.entries() if name in {None, entry.name}]
    if name is not None and not entries:
        raise ArchiveError(f"{store.folder} has no model {name}")
    found = [_verified(store, entry, keys) for entry in entries]
    return found if name is not None else found + _strangers(store, entries)


def _verified(store: ModelStore, entry: Entry, keys: Sequence[Ed25519PublicKey]) -> Verified:
    file = store.file(entry)
    if not file.is_file():
        return Verified(entry.file, entry, ("it is not there: archive it again with --force",))
    faults: list[str] = []
    signed_by = None
    sha256 = sha256_file(file)
    if sha256 != entry.sha256:
        faults.append(f"its SHA-256 is {sha256[:12]}…, the index says {entry.sha256[:12]}…")
    try:
        inspection = inspect(file)
        model = inspection.manifest["model"]
        if (model["modelName"], model["modelVersion"]) != (entry.name, entry.version):
            said = f"{model['modelName']} {model['modelVersion']}"
            faults.append(f"it says that it is {said}, the index {entry.name} {entry.version}")
        faults += inspection.faults
    except ArchiveError as err:
        faults.append(str(err))
    if keys:
        try:
            signed_by = check_signature(file, sha256, keys)
        except ArchiveError as err:
            faults.append(str(err))
    return Verified(entry.file, entry, tuple(faults), signed_by)


def _strangers(store: ModelStore, entries: Sequence[Entry]) -> list[Verified]:
    known = {entry.file for entry in entries}
    files = sorted(path.name for path in store.folder.glob("*.mar") if path.name not in known)
    fault = "it is not in the index: archive it, or remove it"
    return [Verified(file, None, (fault,)) for file in files]
