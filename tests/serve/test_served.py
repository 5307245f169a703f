"""Which models are served."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from marina.errors import ServeError
from marina.files import sha256_file
from marina.serve import resolve

from .archives import GOLDEN, make_archive


def index(store: Path, *files: Path) -> None:
    entries = [
        {
            "name": file.stem.rpartition("-")[0],
            "version": file.stem.rpartition("-")[2],
            "file": file.name,
            "sha256": sha256_file(file),
            "created": "2026-01-01T00:00:00+00:00",
            "source_run": "stub/run",
        }
        for file in files
    ]
    (store / "index.json").write_text(json.dumps({"archives": entries}))


def named(arguments: list[str], store: Path) -> list[tuple[str, str]]:
    return [(model.name, model.version) for model in resolve(arguments, store)]


def test_a_file_names_its_model_itself(tmp_path: Path) -> None:
    file = make_archive(tmp_path, "1.5")
    [model] = resolve([str(file)], Path("elsewhere"))
    assert (model.name, model.version, model.file) == ("stub", "1.5", file)
    assert model.sha256 == sha256_file(file)
    assert (model.golden.label, model.golden.data) == ("class 1", GOLDEN)


def test_another_name_may_be_given(tmp_path: Path) -> None:
    make_archive(tmp_path)
    assert named(["stub-1.0.mar", "other=stub-1.0.mar"], tmp_path) == [
        ("stub", "1.0"),
        ("other", "1.0"),
    ]


def test_arguments_keep_their_order(tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        make_archive(tmp_path, version)
    assert named(["stub-1.0.mar", "stub-2.0.mar"], tmp_path) == [("stub", "1.0"), ("stub", "2.0")]


def test_the_index_gives_the_highest_version_first(tmp_path: Path) -> None:
    versions = ("1.9", "blue", "1.10", "2.0rc1", "2.0")
    index(tmp_path, *(make_archive(tmp_path, version) for version in versions))
    assert [v for _, v in named([], tmp_path)] == ["2.0", "2.0rc1", "1.10", "1.9", "blue"]


def test_the_index_keeps_models_together(tmp_path: Path) -> None:
    files = [make_archive(tmp_path, v, name=n) for n, v in (("a", "1"), ("b", "3"), ("a", "2"))]
    index(tmp_path, *files)
    assert named([], tmp_path) == [("a", "2"), ("a", "1"), ("b", "3")]


def test_a_file_that_is_not_the_indexed_one(tmp_path: Path) -> None:
    file = make_archive(tmp_path)
    index(tmp_path, file)
    make_archive(tmp_path, golden_logits=(1.0, 2.0, 3.0))
    with pytest.raises(ServeError, match=r"is not the file that .*index\.json lists"):
        resolve([], tmp_path)


def test_an_indexed_file_that_is_gone(tmp_path: Path) -> None:
    file = make_archive(tmp_path)
    index(tmp_path, file)
    file.unlink()
    with pytest.raises(ServeError, match=r"lists stub-1\.0\.mar, which is not there"):
        resolve([], tmp_path)


def test_an_empty_store(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=f"nothing to serve: {tmp_path} has no archives"):
        resolve([], tmp_path)


def test_a_missing_file_and_what_there_is(tmp_path: Path) -> None:
    make_archive(tmp_path)
    with pytest.raises(ServeError, match=r"no archive resnet\.mar, .* holds stub-1\.0\.mar"):
        resolve(["resnet=resnet.mar"], tmp_path)


def test_a_version_is_given_once(tmp_path: Path) -> None:
    make_archive(tmp_path)
    with pytest.raises(ServeError, match=r"stub 1\.0 is given twice, .* other="):
        resolve(["stub-1.0.mar", "stub=stub-1.0.mar"], tmp_path)


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.mar").write_text("no zip")
    with pytest.raises(ServeError, match=r"x\.mar is no \.mar, or a damaged one"):
        resolve(["x.mar"], tmp_path)


@pytest.mark.parametrize("missing", ["MAR-INF/MANIFEST.json", "golden/golden.json", "golden/0.png"])
def test_an_archive_that_lacks_something(tmp_path: Path, missing: str) -> None:
    with (
        zipfile.ZipFile(make_archive(tmp_path)) as whole,
        zipfile.ZipFile(tmp_path / "x.mar", "w") as partial,
    ):
        for name in whole.namelist():
            if name != missing:
                partial.writestr(name, whole.read(name))
    with pytest.raises(ServeError, match=f"x.mar .*lacks.*{missing}.*`marina archive`"):
        resolve(["x.mar"], tmp_path)


@pytest.mark.parametrize("name", ["token", "tokenizer", "a,b", "-x", ""])
def test_names_that_torchserve_mistakes(tmp_path: Path, name: str) -> None:
    file = make_archive(tmp_path, name=name).rename(tmp_path / "x.mar")
    with pytest.raises(ServeError, match="a model's name is letters, digits"):
        resolve(["x.mar"], tmp_path)
    assert named([f"good={file}"], tmp_path) == [("good", "1.0")]
