"""A bundle: wheels, archives, configuration, a systemd unit, an installer, and their checksums."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from marina.archive.store import ModelStore
from marina.bundle.wheels import missing, requirements
from marina.errors import BundleError
from marina.files import sha256_file, whole_folder
from marina.serve.config import ServeConfig, render

if TYPE_CHECKING:
    from collections.abc import Callable

SUMS = "SHA256SUMS"


def make_bundle(
    target: Path, store: ModelStore, get_wheels: Callable[[Path], None], *, partial: bool = False
) -> Path:
    """Write a bundle; it is there whole or not at all.

    Args:
        target: A folder that does not exist yet.
        store: Whose archives it brings.
        get_wheels: Puts the wheels into a folder.
        partial: Whether the host has what has no wheel here.

    Returns:
        The folder.

    Raises:
        BundleError: It exists, the store is empty, or a package has no wheel.
        ArchiveError: An archive is damaged.
    """
    if target.exists():
        raise BundleError(f"{target} is there already: choose another folder, or remove it")
    if not store.entries():
        raise BundleError(f"no archives in {store.folder}: `marina archive` makes them")
    with whole_folder(target) as folder:
        get_wheels(folder / "wheels")
        absent = [] if partial else missing(folder / "wheels")
        if absent:
            raise BundleError(
                f"no wheel of {', '.join(absent)}: add them, or --partial if the host has them"
            )
        (folder / "requirements.txt").write_text(requirements(folder / "wheels"))
        _copy_store(store, folder / "model_store")
        _configure(folder)
        (folder / SUMS).write_text(_sums(folder))
    return target


def _copy_store(store: ModelStore, target: Path) -> None:
    target.mkdir()
    for entry in store.entries():
        file = store.file(entry)
        if sha256_file(file) != entry.sha256:
            raise BundleError(f"{file} is not what the index says: see `marina store verify`")
        shutil.copyfile(file, target / file.name)
        signature = file.with_name(f"{file.name}.sig")
        if signature.exists():
            shutil.copyfile(signature, target / signature.name)
    shutil.copyfile(store.index, target / store.index.name)


def _configure(folder: Path) -> None:
    templates = files("marina.bundle") / "files"
    (folder / "config").mkdir()
    for name in ("marina.env", "marina.service"):
        (folder / "config" / name).write_text((templates / name).read_text())
    (folder / "config" / "config.properties").write_text(render(ServeConfig()))
    installer = folder / "install.sh"
    installer.write_text((templates / "install.sh").read_text())
    installer.chmod(0o755)


def _sums(folder: Path) -> str:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256_file(path)}  {path.relative_to(folder)}\n" for path in paths)
