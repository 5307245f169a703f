"""Archives that a running server refuses to register: TorchServe never sees them."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from marina.archive.store import ModelStore
from marina.client import Client, GrpcManagementClient, ManagementClient
from marina.errors import ClientError
from marina.serve import Server, resolve, running

from .archives import make_archive
from .conftest import free_config, workspaces

pytestmark = pytest.mark.slow

KEY, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def put(store: ModelStore, version: str, content: bytes, key: Ed25519PrivateKey | None) -> None:
    """List an archive with its true digest, as one does who can write to the store."""
    file = store.folder.parent / "made.mar"
    file.write_bytes(content)
    store.add(file, "stub", version, "stub/run", force=True, key=key)


def good(folder: Path, version: str) -> bytes:
    return make_archive(folder, version).read_bytes()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("refused")
    store = ModelStore(folder / "store")
    put(store, "1.0", good(folder, "1.0"), KEY)
    return store


@pytest.fixture(scope="module")
def server(store: ModelStore) -> Iterator[Server]:
    """It requires a signature."""
    keys = [KEY.public_key()]
    models = resolve([], store.folder, keys)
    config = free_config(store.folder)
    with running(config, models, log_dir=store.folder.parent / "logs", keys=keys) as server:
        yield server


def unpacked() -> set[Path]:
    """What lies in the server's private folder, TorchServe's temporary files among it."""
    return {path for folder in workspaces(os.getpid()) for path in folder.rglob("*")}


Change = Callable[[dict[str, bytes]], None]


def changed(content: bytes, change: Change, compression: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        files = {name: old.read(name) for name in old.namelist()}
    change(files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as new:
        for name, data in files.items():
            new.writestr(name, data)
    return buffer.getvalue()


def saying(**model: Any) -> Change:
    def change(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["MAR-INF/MANIFEST.json"])
        manifest["model"] |= model
        files["MAR-INF/MANIFEST.json"] = json.dumps(manifest).encode()

    return change


def holding(name: str) -> Change:
    return lambda files: files.update({name: b"evil"})


def without(name: str) -> Change:
    return lambda files: files.pop(name) and None


def nothing(files: dict[str, bytes]) -> None:
    pass


REFUSED: dict[str, tuple[Callable[[bytes], bytes], Ed25519PrivateKey | None, str]] = {
    "a name that leaves": (
        lambda c: changed(c, holding("../../evil.py")), KEY, r"the name '\.\./\.\./evil\.py' is not"
    ),
    "an absolute name": (
        lambda c: changed(c, holding("/tmp/evil.py")), KEY, r"the name '/tmp/evil\.py' is not"
    ),
    "a configFile outside": (
        lambda c: changed(c, saying(configFile="../../../secret.yaml")), KEY, "as configFile"
    ),
    "packages to install": (
        lambda c: changed(c, saying(requirementsFile="entry.py")), KEY, "key 'requirementsFile'"
    ),
    "deflated": (
        lambda c: changed(c, nothing, zipfile.ZIP_DEFLATED), KEY, "compressed, encrypted or"
    ),
    "two zips in one": (lambda c: c + c, KEY, "it hides bytes before"),
    "too many files": (
        lambda c: changed(c, lambda f: f.update({f"f{n}": b"" for n in range(1100)})),
        KEY,
        "entries, more than 1,000",
    ),
    "no manifest": (
        lambda c: changed(c, without("MAR-INF/MANIFEST.json")), KEY, "it lacks MAR-INF"
    ),
    "no golden images": (
        lambda c: changed(c, without("golden/golden.json")), KEY, r"lacks what every archive"
    ),
    "cut off": (lambda c: c[:-40], KEY, "is no .mar, or a damaged one"),
    "of another version": (lambda c: changed(c, saying(modelVersion="1.0")), KEY, "lists it as"),
    "not signed": (lambda c: c, None, "is not signed: there is no"),
    "signed by another": (lambda c: c, STRANGER, "is not signed by the key"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_leaves_no_trace(
    server: Server, store: ModelStore, tmp_path: Path, kind: str
) -> None:
    spoil, key, message = REFUSED[kind]
    before = unpacked()
    put(store, "2.0", spoil(good(tmp_path, "2.0")), key)
    managers = (
        ManagementClient(server.management_url),
        GrpcManagementClient(server.grpc_management_target),
    )
    for manager in managers:
        with manager, pytest.raises(ClientError, match=message):
            manager.register("stub", "2.0")
        with Client(server.rest_url, management=server.management_url) as client:
            assert [model.version for model in client.models()] == ["1.0"]
            assert client.predict(b"x", model="stub")[0].label == "class 1"
    assert unpacked() == before


def test_a_file_changed_after_it_was_listed_is_refused(
    server: Server, store: ModelStore, tmp_path: Path
) -> None:
    put(store, "2.0", good(tmp_path, "2.0"), KEY)
    file = store.folder / "stub-2.0.mar"
    file.write_bytes(changed(file.read_bytes(), holding("evil.py")))
    with (
        ManagementClient(server.management_url) as manager,
        pytest.raises(ClientError, match="is not the file that was signed: its SHA-256 differs"),
    ):
        manager.register("stub", "2.0")


def test_what_is_sound_and_signed_is_registered(
    server: Server, store: ModelStore, tmp_path: Path
) -> None:
    put(store, "3.0", good(tmp_path, "3.0"), KEY)
    with ManagementClient(server.management_url) as manager:
        manager.register("stub", "3.0")
        assert {model.version for model in manager.models()} == {"1.0", "3.0"}
        manager.unregister("stub", "3.0")
