"""The store: its index, aliases, verification, pruning, and the verbs."""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from typer.testing import CliRunner

from marina.archive.pruning import superfluous
from marina.archive.signature import signature_file
from marina.archive.store import ModelStore
from marina.archive.verification import verify
from marina.cli import app
from marina.errors import ArchiveError, ServeError
from marina.serve import resolve

KEY = Ed25519PrivateKey.generate()


def small_archive(folder: Path, name: str, version: str, accuracy: float = 0.9) -> Path:
    """Write an archive with provenance, as Marina's are, but without a model."""
    model = {"modelName": name, "modelVersion": version, "handler": "entry.py"}
    golden = {"file": "0.png", "label": "a", "logits": [1.0, 0.0]}
    files = {
        "MAR-INF/MANIFEST.json": json.dumps({"model": {**model, "configFile": "config.yaml"}}),
        "config.yaml": yaml.safe_dump({"minWorkers": 1}),
        "entry.py": "",
        "golden/0.png": "png",
        "golden/golden.json": json.dumps({"format": 1, "atol": {"cpu": 1e-3}, "images": [golden]}),
        "index_to_name.json": json.dumps({"0": "a", "1": "b"}),
    }
    digests = {file: sha256(content.encode()).hexdigest() for file, content in files.items()}
    provenance = {"files": digests, "evaluation": {"accuracy": accuracy}}
    file = folder / f"made-{name}-{version}.mar"
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in {**files, "provenance.json": json.dumps(provenance)}.items():
            archive.writestr(member, content)
    return file


def add(store: ModelStore, name: str, version: str, **options: Any) -> Path:
    """Put a small archive into the store, and say where it is."""
    made = small_archive(store.folder.parent, name, version)
    return store.file(store.add(made, name, version, f"{name}/run", force=True, **options))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path / "model_store")
    for version in ("1.0", "1.9", "1.10"):
        add(store, "resnet", version)
    add(store, "other", "1.0")
    return store


def test_an_alias_stands_for_a_version(store: ModelStore) -> None:
    store.set_alias("resnet", "stable", "1.9")
    assert store.find("resnet", "stable").version == "1.9"
    store.set_alias("resnet", "canary", "1.10")
    store.set_alias("resnet", "stable", "canary")  # to promote is to move the alias
    assert store.find("resnet", "stable").version == "1.10"
    assert store.read().aliases_of(store.find("resnet", "1.10")) == ["canary", "stable"]
    store.remove_alias("resnet", "canary")
    with pytest.raises(ArchiveError, match=r"resnet has no alias canary; it has stable"):
        store.remove_alias("resnet", "canary")


def test_an_alias_outlives_another_archive(store: ModelStore) -> None:
    store.set_alias("resnet", "stable", "1.9")
    add(store, "resnet", "2.0")
    assert store.find("resnet", "stable").version == "1.9"


@pytest.mark.parametrize("alias", ["", "1.0", "Stable", "a/b", "-x", "x" * 33])
def test_what_is_no_alias(store: ModelStore, alias: str) -> None:
    with pytest.raises(ArchiveError, match="an alias is lower-case letters and hyphens"):
        store.set_alias("resnet", alias, "1.0")


def test_an_alias_and_a_version_are_never_the_same_word(store: ModelStore) -> None:
    add(store, "resnet", "blue")
    with pytest.raises(ArchiveError, match="blue is a version of resnet itself"):
        store.set_alias("resnet", "blue", "1.0")
    store.set_alias("resnet", "green", "1.0")
    with pytest.raises(ArchiveError, match="green is an alias of resnet: choose another"):
        add(store, "resnet", "green")


def test_what_is_not_there_is_named_with_what_is(store: ModelStore) -> None:
    store.set_alias("resnet", "stable", "1.9")
    with pytest.raises(ArchiveError, match=r"no version 7; it has 1\.0, 1\.9, 1\.10, stable$"):
        store.find("resnet", "7")
    with pytest.raises(ArchiveError, match=r"has no model x; it has other, resnet$"):
        store.set_alias("x", "stable", "1.0")


def test_aliases_may_be_set_side_by_side(store: ModelStore) -> None:
    names = [f"a{'b' * number}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda alias: store.set_alias("resnet", alias, "1.0"), names))
    assert sorted(store.read().aliases["resnet"]) == names


def test_an_index_of_before_aliases_is_read(store: ModelStore) -> None:
    document = json.loads(store.index.read_text())
    del document["aliases"]
    store.index.write_text(json.dumps(document))
    assert len(store.entries()) == 4


@pytest.mark.parametrize("file", ["../x.mar", "/tmp/x.mar", "a/x.mar", ".."])
def test_an_index_that_leads_out_of_the_store_is_refused(store: ModelStore, file: str) -> None:
    text = store.index.read_text().replace("resnet-1.0.mar", file)
    store.index.write_text(text)
    with pytest.raises(ArchiveError, match=r"is damaged \('.*' is no file of the store\)"):
        store.entries()


def test_a_sound_store_is_verified(store: ModelStore) -> None:
    results = verify(store)
    assert [result.faults for result in results] == 4 * [()]
    assert [r.file for r in verify(store, name="other")] == ["other-1.0.mar"]
    store.set_alias("resnet", "stable", "1.9")
    assert [r.file for r in verify(store, name="resnet", version="stable")] == ["resnet-1.9.mar"]
    with pytest.raises(ArchiveError, match="has no model x"):
        verify(store, name="x")


def faults(store: ModelStore, file: str) -> str:
    [result] = [result for result in verify(store) if result.file == file]
    return "; ".join(result.faults)


def test_a_file_that_is_not_the_indexed_one(store: ModelStore) -> None:
    file = store.folder / "resnet-1.0.mar"
    file.write_bytes(small_archive(store.folder.parent, "resnet", "1.0", accuracy=0.1).read_bytes())
    assert "its SHA-256 is" in faults(store, "resnet-1.0.mar")


def test_a_file_that_is_gone_or_has_no_line(store: ModelStore) -> None:
    (store.folder / "resnet-1.0.mar").rename(store.folder / "stranger.mar")
    assert faults(store, "resnet-1.0.mar") == "it is not there: archive it again with --force"
    assert faults(store, "stranger.mar").startswith("it is not in the index")


def test_another_version_in_the_place_of_one(store: ModelStore) -> None:
    """A signed old version must not pass for a new one, even if the index is forged with it."""
    old = small_archive(store.folder.parent, "resnet", "1.0")
    store.add(old, "resnet", "3.0", "resnet/run", force=True, key=KEY)
    assert "it says that it is resnet 1.0, the index resnet 3.0" in faults(store, "resnet-3.0.mar")
    with pytest.raises(ServeError, match=r"says that it is resnet 1\.0, .* as resnet 3\.0"):
        resolve([], store.folder)


def test_an_unsafe_archive_in_the_store(store: ModelStore) -> None:
    file = store.folder / "resnet-1.0.mar"
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../evil.py", b"")
    assert "is refused: the name '../evil.py'" in faults(store, "resnet-1.0.mar")


def test_a_file_changed_inside(store: ModelStore) -> None:
    file = store.folder / "resnet-1.0.mar"
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, b"evil" if entry.filename == "entry.py" else old.read(entry))
    file.write_bytes(buffer.getvalue())
    assert "entry.py: SHA-256 differs from the provenance" in faults(store, "resnet-1.0.mar")


def test_signatures_are_verified_if_a_key_is_given(store: ModelStore) -> None:
    add(store, "resnet", "2.0", key=KEY)
    results = {result.file: result for result in verify(store, [KEY.public_key()])}
    assert results["resnet-2.0.mar"].faults == ()
    assert results["resnet-2.0.mar"].signed_by is not None
    assert "is not signed" in results["resnet-1.0.mar"].faults[0]


def test_archiving_anew_without_a_key_takes_the_signature_away(store: ModelStore) -> None:
    file = add(store, "resnet", "2.0", key=KEY)
    assert signature_file(file).is_file()
    add(store, "resnet", "2.0")
    assert not signature_file(file).exists()


def test_what_is_needed_is_not_pruned(store: ModelStore) -> None:
    def gone(keep: int) -> list[str]:
        return [entry.file for entry in superfluous(store, keep)]

    assert gone(1) == ["resnet-1.9.mar", "resnet-1.0.mar"]
    assert gone(2) == ["resnet-1.0.mar"]
    store.set_alias("resnet", "stable", "1.9")
    assert gone(1) == ["resnet-1.0.mar"]
    served = {"models": {"resnet": {"versions": {"1.0": {}}}}}
    (store.folder / "state.json").write_text(json.dumps(served))
    assert gone(1) == []
    (store.folder / "state.json").write_text('{"mod')
    with pytest.raises(ArchiveError, match=r"cannot tell from .*state\.json what is served"):
        gone(1)


def test_what_is_pruned_is_gone_with_its_line_and_signature(store: ModelStore) -> None:
    file = add(store, "resnet", "0.1", key=KEY)
    store.remove(superfluous(store, 3, "resnet"))
    assert not file.exists()
    assert not signature_file(file).exists()
    assert [entry.version for entry in store.entries()] == ["1.0", "1.0", "1.9", "1.10"]


def run(store: ModelStore, *words: str) -> Any:
    return CliRunner().invoke(app, ["store", *words, "--model-store", str(store.folder)])


def test_the_verbs(store: ModelStore, tmp_path: Path) -> None:
    assert run(store, "alias", "resnet", "stable", "1.9").stdout == "1.9\n"
    assert run(store, "alias", "resnet", "stable").stdout == "1.9\n"
    rows = json.loads(run(store, "list", "resnet", "--json").stdout)
    assert [(row["version"], row["aliases"]) for row in rows] == [
        ("1.10", []),
        ("1.9", ["stable"]),
        ("1.0", []),
    ]
    assert (rows[0]["accuracy"], rows[0]["is_signed"]) == (0.9, False)
    assert "stable" in run(store, "list").stdout
    assert json.loads(run(store, "prune", "--keep", "1", "--dry-run", "--json").stdout) == [
        "resnet-1.0.mar"
    ]
    assert (store.folder / "resnet-1.0.mar").exists()
    assert run(store, "prune", "--keep", "1").stdout == "resnet-1.0.mar\n"
    assert not (store.folder / "resnet-1.0.mar").exists()
    assert run(store, "verify").exit_code == 0
    public = tmp_path / "pub.pem"
    public.write_bytes(
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    signed = run(store, "verify", "--key", str(public), "--json")
    assert signed.exit_code == 6
    assert all("is not signed" in result["faults"][0] for result in json.loads(signed.stdout))


def test_serving_may_require_a_signature(store: ModelStore) -> None:
    keys = [KEY.public_key()]
    with pytest.raises(ServeError, match=r"is not signed: there is no .*\.sig"):
        resolve([], store.folder, keys)
    file = add(store, "resnet", "2.0", key=KEY)
    [served] = resolve(["resnet-2.0.mar"], store.folder, keys)
    assert served.version == "2.0"
    with pytest.raises(ServeError, match="is not signed by the key"):
        resolve(["resnet-2.0.mar"], store.folder, [Ed25519PrivateKey.generate().public_key()])
    content = bytearray(file.read_bytes())
    content[-1:] = b""
    file.write_bytes(bytes(content))
    with pytest.raises(ServeError, match="or a damaged one"):
        resolve(["resnet-2.0.mar"], store.folder, keys)
