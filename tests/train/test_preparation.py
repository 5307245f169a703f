from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from marina.cli import app
from marina.errors import DataError
from marina.recipe import Data
from marina.train.dataset import read_split
from marina.train.preparation import prepare_folder

FRACTIONS = {"val": 0.2, "test": 0.2}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten images of each of two classes, of which two are the same but for their names."""
    for label in ("ants", "bees"):
        (tmp_path / "source" / label).mkdir(parents=True)
        for number in range(10):
            colour = (number, label == "ants", 0)
            Image.new("RGB", (8, 8), colour).save(tmp_path / "source" / label / f"{number}.png")
    bees = tmp_path / "source" / "bees"
    (bees / "9.png").write_bytes((bees / "0.png").read_bytes())
    return tmp_path / "source"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


def test_each_split_has_its_share_of_each_class(source: Path, tmp_path: Path) -> None:
    made = prepare_folder(source, tmp_path / "out", FRACTIONS, 0, copy=False)
    assert made.counts["val"] == {"ants": 2, "bees": 2}
    assert sum(sum(split.values()) for split in made.counts.values()) == 20
    data = Data(source="folder", root=tmp_path / "out")
    assert len(read_split(data, "train").files) == sum(made.counts["train"].values())


def test_the_same_seed_gives_the_same_splits(source: Path, tmp_path: Path) -> None:
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        prepare_folder(source, tmp_path / out, FRACTIONS, seed, copy=False)
    assert names(tmp_path / "a") == names(tmp_path / "b") != names(tmp_path / "c")


def test_images_of_one_content_share_a_split(source: Path, tmp_path: Path) -> None:
    for seed in range(5):
        out = tmp_path / f"out{seed}"
        made = prepare_folder(source, out, FRACTIONS, seed, copy=False)
        assert (
            len({path.parent for path in (*out.rglob("bees/0.png"), *out.rglob("bees/9.png"))}) == 1
        )
        assert made.duplicates == [[str(source / "bees/0.png"), str(source / "bees/9.png")]]
        assert made.contradictions == []


@pytest.mark.parametrize("copy", [False, True])
def test_files_are_hard_links_or_copies(source: Path, tmp_path: Path, copy: bool) -> None:
    prepare_folder(source, tmp_path / "out", FRACTIONS, 0, copy=copy)
    original = (source / "ants/3.png").stat()
    (placed,) = (tmp_path / "out").rglob("ants/3.png")
    assert (placed.stat().st_ino == original.st_ino) == (not copy)


def test_a_link_that_cannot_be_made_says_copy_and_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(DataError, match=r"cross-device link.*use --copy"):
        prepare_folder(source, tmp_path / "out", FRACTIONS, 0, copy=False)
    assert not (tmp_path / "out").exists()


def test_a_list_with_equal_names_and_a_contradiction(source: Path, tmp_path: Path) -> None:
    lines = [f"source/{label}/{n}.png,x" for label in ("ants", "bees") for n in range(4)]
    lines.append("source/ants/0.png,y")
    (tmp_path / "all.csv").write_text("\n".join(lines))
    result = CliRunner().invoke(
        app, ["data", "prepare", str(tmp_path / "all.csv"), str(tmp_path / "out"), "--json"]
    )
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert len(made["contradictions"]) == 1
    assert len(names(tmp_path / "out")) == 9
    assert any(name.endswith("-2.png") for name in names(tmp_path / "out"))


def test_an_existing_folder_is_left_alone(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is there already"):
        prepare_folder(source, source, FRACTIONS, 0, copy=False)
    assert len(names(source)) == 20


def test_shares_that_leave_no_training_images_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leave nothing to train on"):
        prepare_folder(source, tmp_path / "out", {"val": 0.5, "test": 0.5}, 0, copy=False)


def test_stratified_shares_are_exact() -> None:
    from marina.train.splitting import stratified

    targets = np.repeat([0, 1], [100, 50])
    splits = np.array(stratified(targets, {"val": 0.1, "test": 0.2}, 0))
    assert [(splits[targets == t] == "test").sum() for t in (0, 1)] == [20, 10]
    assert [(splits[targets == t] == "val").sum() for t in (0, 1)] == [10, 5]
