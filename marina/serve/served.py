"""Which models to serve: from the command line's ``NAME=FILE.mar``, or from the store's index."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from handlers.golden import Golden, GoldenImage
from marina.archive.mar import MANIFEST
from marina.archive.store import Entry, ModelStore
from marina.errors import ServeError
from marina.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Sequence

# TorchServe takes any management path with "/token" in it for its token API.
_NAME = re.compile(r"(?!token)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Served:
    """One version of a model, to be served.

    Attributes:
        name: What clients call it.
        version: Of the model.
        file: The ``.mar``.
        sha256: Of that file.
        golden: An image with the answer that the lab gave it.
    """

    name: str
    version: str
    file: Path
    sha256: str
    golden: GoldenImage

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @classmethod
    def read(cls, file: Path, name: str | None = None) -> Served:
        """Read what an archive says of itself.

        Args:
            file: The ``.mar``.
            name: What to call the model instead of what the archive says.

        Raises:
            ServeError: It is missing, is no ``.mar``, or has no golden images.
        """
        try:
            with zipfile.ZipFile(file) as archive:
                model = json.loads(archive.read(MANIFEST))["model"]
                golden = Golden.load(zipfile.Path(archive, "golden/")).images[0]
                given = (model["modelName"], model["modelVersion"])
        except zipfile.BadZipFile as err:
            raise ServeError(f"{file} is not a .mar, or a damaged one: {err}") from err
        except (KeyError, FileNotFoundError) as err:  # FileNotFoundError: zipfile.Path's
            raise ServeError(
                f"{file} lacks what every archive of Marina's has ({err.args[0]}), and could not "
                "prove that it answers rightly: make it with `marina archive`"
            ) from err
        except (TypeError, ValueError, OSError) as err:
            raise ServeError(f"cannot read {file}: {err}. Archive it again") from err
        return cls(_checked_name(name or given[0], file), given[1], file, sha256_file(file), golden)


def resolve(arguments: Sequence[str], model_store: Path) -> list[Served]:
    """Find the models to serve, in the order in which to load them.

    Of several versions of a name the first is the default, which answers whoever names none.

    Args:
        arguments: ``NAME=FILE.mar`` or ``FILE.mar``; a file is looked for where it says, then in
            the store. The order is kept. None at all takes every archive of the store's index,
            the highest version of each name first.
        model_store: Folder of the archives and their index.

    Raises:
        ServeError: There is nothing to serve, a file is missing or is not an archive, or a
            version of a name is given twice.
    """
    if arguments:
        models = [_from_argument(argument, model_store) for argument in arguments]
    else:
        models = _from_index(ModelStore(model_store))
    seen: dict[tuple[str, str], Served] = {}
    for model in models:
        other = seen.setdefault((model.name, model.version), model)
        if other is not model:
            raise ServeError(
                f"{model} is given twice, as {other.file} and {model.file}: leave one out, or "
                f"call it by another name, as in other={model.file}"
            )
    return models


def _from_argument(argument: str, model_store: Path) -> Served:
    name, separator, file = argument.rpartition("=")
    path = next((p for p in (Path(file), model_store / file) if p.is_file()), None)
    if path is None:
        there = ", ".join(sorted(entry.name for entry in model_store.glob("*.mar"))) or "no archive"
        raise ServeError(
            f"no archive {file}, neither here nor in {model_store}, which holds {there}. "
            "`marina archive RUN --version 1.0` makes one"
        )
    return Served.read(path, name if separator else None)


def _from_index(store: ModelStore) -> list[Served]:
    entries = sorted(store.entries(), key=lambda entry: _precedence(entry.version), reverse=True)
    if not entries:
        raise ServeError(
            f"nothing to serve: {store.folder} has no archives. `marina archive RUN --version 1.0` "
            "makes one, `make demo` makes one from scratch"
        )
    entries.sort(key=lambda entry: entry.name)  # stable: versions stay in their order
    return [_from_entry(entry, store) for entry in entries]


def _from_entry(entry: Entry, store: ModelStore) -> Served:
    file = store.folder / entry.file
    if not file.is_file():
        raise ServeError(
            f"{store.index} lists {entry.file}, which is not there: archive it again with --force"
        )
    served = Served.read(file, entry.name)
    if served.sha256 != entry.sha256:
        raise ServeError(
            f"{served.file} is not the file that {store.index} lists: its SHA-256 is "
            f"{served.sha256[:12]}…, not {entry.sha256[:12]}…. Archive it again with --force, or "
            f"name the file to serve it as it is"
        )
    return served


def _precedence(version: str) -> tuple[bool, Version, str]:
    """Order versions: 1.10 above 1.9, 1.0 above 1.0rc1, and words below all numbers."""
    try:
        return True, Version(version), version
    except InvalidVersion:
        return False, Version("0"), version


def _checked_name(name: Any, file: Path) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ServeError(
            f"{file}: a model's name is letters, digits, . _ - and does not begin with `token`, "
            f"not {name!r}: give it another, as in NAME={file}"
        )
    return name
