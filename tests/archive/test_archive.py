from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from marina.archive.archive import archive, model_config
from marina.archive.inspection import inspect
from marina.archive.store import ModelStore
from marina.errors import ArchiveError
from marina.export.torchscript import export, is_exported
from marina.recipe import read_recipe
from marina.train.run import Run


@pytest.fixture
def run(quick_run: Run) -> Run:
    if not is_exported(quick_run):
        export(quick_run)
    return quick_run


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "model_store")


def test_an_archive_holds_all_that_the_design_names(run: Run, store: ModelStore) -> None:
    entry = archive(run, "1.0", store)
    with zipfile.ZipFile(store.folder / entry.file) as mar:
        names = set(mar.namelist())
        manifest = json.loads(mar.read("MAR-INF/MANIFEST.json"))
        config = yaml.safe_load(mar.read("model-config.yaml"))
        provenance = json.loads(mar.read("provenance.json"))
    assert names >= {"model.pt", "marina_entry.py", "index_to_name.json", "golden/golden.json"}
    assert "handlers/image_classifier.py" in names
    assert manifest["model"]["modelName"] == "resnet"
    assert manifest["model"]["modelVersion"] == "1.0"
    assert config["batchSize"] == 8
    assert config["image"]["mean"] == [0.305]
    assert config["handler"]["winograd"] is True
    assert provenance["dataset_sha256"] == run.metrics["dataset"]["sha256"]
    assert provenance["evaluation"] == run.metrics["test"]
    assert str(run.folder.parent.parent) not in json.dumps(manifest)


def test_a_fitted_temperature_is_exported_again_and_archived(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    calibrated = Run(tmp_path / "run")
    assert is_exported(calibrated)
    assert yaml.safe_load(model_config(calibrated))["handler"]["temperature"] == 1.0
    calibrated.save_temperature(1.25)
    assert not is_exported(calibrated)
    assert yaml.safe_load(model_config(calibrated))["handler"]["temperature"] == 1.25


@pytest.mark.parametrize(
    ("override", "device"),
    [("serve.precision=bf16", None), ("serve.precision=int8", "cpu"), *[
        (f"serve.backend={name}", "cpu") for name in ("inductor", "onnxruntime", "openvino")
    ]],
)  # fmt: skip
def test_what_computes_on_a_cpu_alone_is_kept_off_gpus(
    run: Run, tmp_path: Path, override: str, device: str | None
) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    other = Run(tmp_path / "run")
    other.recipe_file.write_text(read_recipe(run.recipe_file, (override,)).as_yaml())
    assert yaml.safe_load(model_config(other)).get("deviceType") == device


def test_two_builds_are_byte_identical(run: Run, store: ModelStore, tmp_path: Path) -> None:
    first = archive(run, "1.0", store)
    second = archive(run, "1.0", ModelStore(tmp_path / "other"))
    assert first.sha256 == second.sha256
    assert archive(run, "1.1", store).sha256 != first.sha256


def test_nothing_is_overwritten_without_force(run: Run, store: ModelStore) -> None:
    archive(run, "1.0", store)
    with pytest.raises(ArchiveError, match=r"is there already: choose another --version"):
        archive(run, "1.0", store)
    archive(run, "1.0", store, force=True)
    assert len(store.entries()) == 1


def test_archives_may_be_made_side_by_side(run: Run, store: ModelStore) -> None:
    versions = [f"1.{minor}" for minor in range(6)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda version: archive(run, version, store), versions))
    assert {entry.version for entry in store.entries()} == set(versions)
    lines = store.index.read_text().splitlines()
    assert sum('"name": "resnet"' in line for line in lines) == 6
    leftovers = {p.name for p in store.folder.iterdir()} - {
        ".lock",
        "index.json",
        *(f"resnet-{version}.mar" for version in versions),
    }
    assert leftovers == set()


def test_a_version_must_be_a_file_name(run: Run, store: ModelStore) -> None:
    with pytest.raises(ArchiveError, match=r"a version is letters"):
        archive(run, "../1", store)


def test_a_damaged_index_is_never_replaced(run: Run, store: ModelStore) -> None:
    store.folder.mkdir()
    store.index.write_text('{"archives": [')
    with pytest.raises(ArchiveError, match=r"damaged"):
        archive(run, "1.0", store)
    assert store.index.read_text() == '{"archives": ['


def test_inspection_verifies_every_digest(run: Run, store: ModelStore, tmp_path: Path) -> None:
    file = store.folder / archive(run, "1.0", store).file
    assert inspect(file).faults == []
    assert inspect(file).labels == run.labels

    forged = tmp_path / "forged.mar"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(forged, "w") as new:
        for entry in old.infolist():
            if entry.filename == "golden/golden.json":
                continue
            content = old.read(entry)
            new.writestr(entry, content + b"\n" if entry.filename == "model.pt" else content)
        new.writestr("extra.py", b"")
    assert inspect(forged).faults == [
        "model.pt: SHA-256 differs from the provenance",
        "extra.py: not in the provenance",
        "golden/golden.json: missing",
    ]


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.mar"
    file.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"is no \.mar"):
        inspect(file)


def test_the_archive_loads_in_a_worker_that_has_no_marina(
    run: Run, store: ModelStore, tmp_path: Path
) -> None:
    """Loading replays the golden images, with the archive's own copy of the handlers."""
    file = store.folder / archive(run, "1.0", store).file
    folder = tmp_path / "model"
    with zipfile.ZipFile(file) as mar:
        mar.extractall(folder)
    program = """
import os, sys
sys.path.insert(0, os.getcwd())
from ts.model_loader import TsModelLoader
TsModelLoader().load("resnet", os.getcwd(), "marina_entry.py", None, 4)
import handlers
assert handlers.__file__.startswith(os.getcwd()), handlers.__file__
assert "torchvision" not in sys.modules
assert "marina" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_golden_is_refused_at_load(run: Run, store: ModelStore, tmp_path: Path) -> None:
    file = store.folder / archive(run, "1.0", store).file
    folder = tmp_path / "model"
    with zipfile.ZipFile(file) as mar:
        mar.extractall(folder)
    golden = json.loads((folder / "golden" / "golden.json").read_text())
    golden["images"][2]["logits"][0] += 0.5
    (folder / "golden" / "golden.json").write_text(json.dumps(golden))
    program = (
        "import os, sys; sys.path.insert(0, os.getcwd())\n"
        "from ts.model_loader import TsModelLoader\n"
        "TsModelLoader().load('resnet', os.getcwd(), 'marina_entry.py', None, 4)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "logits differ from the lab's by up to 0.5" in done.stderr
