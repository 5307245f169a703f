from __future__ import annotations

from pathlib import Path

import pytest

from marina.bench.settings import Setting, Workshop, changed, write_setting
from marina.bench.target import Target
from marina.errors import RecipeError
from marina.recipe import read_recipe
from marina.train.run import Run

RECIPE = Path(__file__).parents[2] / "models" / "resnet.yaml"
SETTING = Setting(3, 2, 16, 7, "fp32")


def test_the_recipe_keeps_its_comments(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    text = RECIPE.read_text()
    file.write_text(text)
    before = read_recipe(file)
    write_setting(file, SETTING)
    assert read_recipe(file) == changed(before, SETTING)
    comments = [line.partition("#")[2] for line in text.splitlines()]
    assert [line.partition("#")[2] for line in file.read_text().splitlines() if "#" in line] == [
        comment for comment in comments if comment
    ]


def test_a_recipe_without_the_section_gets_one(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    text = RECIPE.read_text()
    file.write_text(text[: text.index("serve:")])
    write_setting(file, SETTING)
    assert read_recipe(file).serve.batch_size == 16


def test_a_section_in_one_line_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    text = RECIPE.read_text()
    file.write_text(text[: text.index("serve:")] + "serve: {workers: 1}\n")
    before = file.read_text()
    with pytest.raises(RecipeError, match=r"put there yourself workers: 3, threads: 2"):
        write_setting(file, SETTING)
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_an_archive_of_another_setting_leaves_the_run_alone(untrained: Run, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in untrained.folder.iterdir()}
    file = Workshop(untrained, tmp_path).archive(Setting(2, None, 4, 1, "fp32"))
    recipe = Target(file).provenance()["recipe"]
    assert (recipe["serve"]["workers"], recipe["serve"]["batch_size"]) == (2, 4)
    assert {path.name: path.stat().st_mtime_ns for path in untrained.folder.iterdir()} == before
