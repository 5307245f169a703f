from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from marina.cli import app
from marina.recipe import Recipe, read_recipe
from marina.train.dataset import read_split
from marina.train.statistics import find_leaks, measure, write_mean_and_std

REPO = Path(__file__).parent.parent.parent


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe with comments, over a folder with a damaged, a double and a leaked file."""
    file = tmp_path / "recipe.yaml"
    content = (REPO / "models" / "cifar10.yaml").read_text()
    head, _, tail = content.partition("data:\n")
    _, _, rest = tail.partition("\narchitecture:")
    data = f"data:\n  source: synthetic\n  root: {tmp_path / 'made'}\n"
    rest = rest.replace("workers: 4", "workers: 0")
    file.write_text(f"{head}{data}\narchitecture:{rest}")
    read_split(read_recipe(file).data, "train")
    folder = tmp_path / "made" / "train"
    (folder / "class0" / "broken.png").write_bytes(b"no image")
    one = min((folder / "class0").glob("0*.png"))
    shutil.copy(one, folder / "class0" / "double.png")
    other = min((folder / "class1").glob("0*.png"))
    shutil.copy(other, tmp_path / "made" / "test" / "class1" / "leaked.png")
    Image.new("RGB", (70, 200)).save(tmp_path / "made" / "val" / "class0" / "tall.png")
    return file


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return read_recipe(recipe_file)


def test_mean_and_std_are_those_of_all_training_pixels(recipe: Recipe) -> None:
    found = measure(recipe)
    root = recipe.data.root / "train"
    pixels = [np.asarray(Image.open(f)) for f in root.rglob("*.png") if f.name != "broken.png"]
    stacked = np.stack(pixels).astype(float) / 255  # (images, 32, 32, 3)
    assert found.mean == pytest.approx(stacked.mean((0, 1, 2)), abs=1e-4)
    assert found.std == pytest.approx(stacked.std((0, 1, 2)), abs=1e-4)


def test_files_that_need_a_look_are_listed(recipe: Recipe) -> None:
    found = measure(recipe)
    assert list(found.unreadable) == ["train/class0/broken.png"]
    assert [Path(file).name for group in found.duplicates for file in group][-1] == "double.png"
    ((a, b),) = found.leaks
    assert (Path(a).parts[0], Path(b).name) == ("train", "leaked.png")
    assert found.sizes == {32: 66, 64: 1}
    assert sum(found.counts["train"].values()) == len(read_split(recipe.data, "train").files)


def test_workers_find_the_same(recipe: Recipe) -> None:
    train = recipe.train.model_copy(update={"workers": 2})
    assert measure(recipe.model_copy(update={"train": train})) == measure(recipe)


def test_a_split_that_stands_for_two_is_no_leak(recipe: Recipe) -> None:
    data = recipe.data.model_copy(
        update={"splits": {"train": "train", "val": "val", "test": "val"}}
    )
    assert find_leaks(data) == []


def test_leaks_end_with_the_data_errors_exit_code(recipe_file: Path) -> None:
    result = CliRunner().invoke(app, ["data", "leaks", str(recipe_file), "--json"])
    assert result.exit_code == 3
    assert len(json.loads(result.stdout)) == 1


def test_mean_and_std_are_written_and_every_other_byte_stays(recipe_file: Path) -> None:
    before = recipe_file.read_text()
    result = CliRunner().invoke(app, ["data", "stats", str(recipe_file), "--write"])
    assert result.exit_code == 0, result.output
    assert "no image lies in two splits" not in result.stdout
    after = recipe_file.read_text()
    image = read_recipe(recipe_file).image
    assert image.mean == measure(read_recipe(recipe_file)).mean
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert [old.split(":")[0].strip() for old, _ in changed] == ["mean", "std"]


def test_a_list_over_several_lines_is_replaced_whole(recipe: Recipe, tmp_path: Path) -> None:
    found = measure(recipe)
    file = tmp_path / "spread.yaml"
    file.write_text(
        "image:\n  std:\n    - 1.0\n    - 2.0\n    - 3.0\n  mean: [0, 0, 0]\n  crop: 3\n"
    )
    write_mean_and_std(file, found)
    image = yaml.safe_load(file.read_text())["image"]
    assert (image["mean"], image["std"], image["crop"]) == ([*found.mean], [*found.std], 3)
