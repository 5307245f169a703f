"""Which models to serve: from the command line's ``NAME=FILE.mar``, or from the store's index."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from handlers.golden import Golden, GoldenImage
from marina.archive.check import check_archive
from marina.archive.inspection import PROVENANCE
from marina.archive.mar import MANIFEST
from marina.archive.signature import check_signature
from marina.archive.store import Entry, ModelStore
from marina.archive.version import precedence
from marina.errors import ArchiveError, ServeError
from marina.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# TorchServe takes any management path with "/token" in it for its token API.
_NAME = re.compile(r"(?!token)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

_PARKING = "handlers/parking.py"


@dataclass(frozen=True)
class Served:
    """One version of a model, to be served.

    Attributes:
        name: What clients call it.
        version: Of the model.
        file: The ``.mar``.
        sha256: Of that file.
        golden: An image with the answer that the lab gave it.
        workers: Processes that the archive asks for.
        batch_size: Most requests in one forward pass, as the archive asks.
        max_batch_delay_ms: How long a request may wait for mates, as the archive asks.
        accuracy: On the test split, from the archive's provenance; None if it does not say.
        parks: Whether its handler is Marina's, which takes no requests while it is told so.
    """

    name: str
    version: str
    file: Path
    sha256: str
    golden: GoldenImage
    workers: int = 1
    batch_size: int = 1
    max_batch_delay_ms: int = 100
    accuracy: float | None = None
    parks: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @classmethod
    def read(
        cls, file: Path, name: str | None = None, keys: Sequence[Ed25519PublicKey] = ()
    ) -> Served:
        """Read what an archive says of itself, once it is known to be safe.

        Args:
            file: The ``.mar``.
            name: What to call the model instead of what the archive says.
            keys: One of them must have signed it; none asks for no signature.

        Raises:
            ServeError: It is missing, is no ``.mar``, is unsafe or not signed, or has no golden
                images.
        """
        try:
            check_archive(file)
            sha256 = sha256_file(file)
            if keys:
                check_signature(file, sha256, keys)
        except ArchiveError as err:
            raise ServeError(str(err)) from err
        try:
            with zipfile.ZipFile(file) as archive:
                model = json.loads(archive.read(MANIFEST))["model"]
                golden = Golden.load(zipfile.Path(archive, "golden/")).images[0]
                given = (model["modelName"], model["modelVersion"])
                settings = _settings(archive, model.get("configFile"))
                parks = _PARKING in archive.namelist()
        except (KeyError, FileNotFoundError) as err:  # FileNotFoundError: zipfile.Path's
            raise ServeError(
                f"{file} lacks what every archive of Marina's has ({err.args[0]}), and could not "
                "prove that it answers rightly: make it with `marina archive`"
            ) from err
        except (TypeError, ValueError, AttributeError, OSError, yaml.YAMLError) as err:
            raise ServeError(f"cannot read {file}: {err}. Archive it again") from err
        called = _checked_name(name or given[0], file)
        return cls(called, given[1], file, sha256, golden, **settings, parks=parks)


def resolve(
    arguments: Sequence[str], model_store: Path, keys: Sequence[Ed25519PublicKey] = ()
) -> list[Served]:
    """Find the models to serve, in the order in which to load them.

    Of several versions of a name the first is the default, which answers whoever names none.

    Args:
        arguments: ``NAME=FILE.mar`` or ``FILE.mar``; a file is looked for where it says, then in
            the store. The order is kept. None at all takes every archive of the store's index,
            the highest version of each name first.
        model_store: Folder of the archives and their index.
        keys: One of them must have signed each archive; none asks for no signatures.

    Raises:
        ServeError: There is nothing to serve, a file is missing, is not an archive or not signed,
            or a version of a name is given twice.
    """
    if arguments:
        models = [_from_argument(argument, model_store, keys) for argument in arguments]
    else:
        models = _from_index(ModelStore(model_store), keys)
    seen: dict[tuple[str, str], Served] = {}
    for model in models:
        other = seen.setdefault((model.name, model.version), model)
        if other is not model:
            raise ServeError(
                f"{model} is given twice, as {other.file} and {model.file}: leave one out, or "
                f"call it by another name, as in other={model.file}"
            )
    return models


def _from_argument(argument: str, model_store: Path, keys: Sequence[Ed25519PublicKey]) -> Served:
    name, separator, file = argument.rpartition("=")
    path = next((p for p in (Path(file), model_store / file) if p.is_file()), None)
    if path is None:
        there = ", ".join(sorted(entry.name for entry in model_store.glob("*.mar"))) or "no archive"
        raise ServeError(
            f"no archive {file}, neither here nor in {model_store}, which holds {there}. "
            "`marina archive RUN --version 1.0` makes one"
        )
    return Served.read(path, name if separator else None, keys)


def _from_index(store: ModelStore, keys: Sequence[Ed25519PublicKey]) -> list[Served]:
    entries = sorted(store.entries(), key=lambda entry: precedence(entry.version), reverse=True)
    if not entries:
        raise ServeError(
            f"nothing to serve: {store.folder} has no archives. `marina archive RUN --version 1.0` "
            "makes one, `make demo` makes one from scratch"
        )
    entries.sort(key=lambda entry: entry.name)  # stable: versions stay in their order
    return [from_entry(entry, store, keys) for entry in entries]


def from_entry(entry: Entry, store: ModelStore, keys: Sequence[Ed25519PublicKey] = ()) -> Served:
    """Read the archive of a line of the index.

    Args:
        entry: The line.
        store: Whose index it is.
        keys: One of them must have signed the archive; none asks for no signature.

    Raises:
        ServeError: It is missing, not signed, or is not the file that the index lists.
    """
    file = store.folder / entry.file
    if not file.is_file():
        raise ServeError(
            f"{store.index} lists {entry.file}, which is not there: archive it again with --force"
        )
    served = Served.read(file, entry.name, keys)
    if served.version != entry.version:
        raise ServeError(
            f"{served.file} says that it is {served}, and {store.index} lists it as {entry.name} "
            f"{entry.version}: archive it again with --force"
        )
    if served.sha256 != entry.sha256:
        raise ServeError(
            f"{served.file} is not the file that {store.index} lists: its SHA-256 is "
            f"{served.sha256[:12]}…, not {entry.sha256[:12]}…. Archive it again with --force, or "
            f"name the file to serve it as it is"
        )
    return served


def _settings(archive: zipfile.ZipFile, config_file: str | None) -> dict[str, Any]:
    """Read how the archive wants to be run, and how well it did in the lab."""
    names = archive.namelist()
    config = yaml.safe_load(archive.read(config_file)) if config_file in names else None
    provenance = json.loads(archive.read(PROVENANCE)) if PROVENANCE in names else {}
    keys = {"workers": "minWorkers", "batch_size": "batchSize"}
    keys["max_batch_delay_ms"] = "maxBatchDelay"
    wanted = {ours: (config or {}).get(theirs) for ours, theirs in keys.items()}
    settings = {key: value for key, value in wanted.items() if isinstance(value, int)}
    return {**settings, "accuracy": (provenance.get("evaluation") or {}).get("accuracy")}


def _checked_name(name: Any, file: Path) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ServeError(
            f"{file}: a model's name is letters, digits, . _ - and does not begin with `token`, "
            f"not {name!r}: give it another, as in NAME={file}"
        )
    return name
