from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from marina.errors import RecipeError
from marina.recipe import read_recipe

MODELS = Path(__file__).parent.parent / "models"
SHIPPED = sorted(MODELS.glob("*.yaml"))


def changed(tmp_path: Path, key: str, value: object) -> Path:
    content = yaml.safe_load((MODELS / "resnet.yaml").read_text())
    *sections, last = key.split(".")
    target = content
    for section in sections:
        target = target[section]
    target[last] = value
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_each_shipped_recipe_loads_and_survives_its_own_yaml(file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(file)
    copy = tmp_path / "recipe.yaml"
    copy.write_text(recipe.as_yaml())
    assert read_recipe(copy) == recipe
    assert recipe.name == file.stem


def test_the_four_that_are_promised_are_shipped() -> None:
    assert {file.stem for file in SHIPPED} >= {
        "resnet",
        "resnet18_imagenet",
        "hymenoptera",
        "cifar10",
    }


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("train.epoch", "epochs"),
        ("image.resise", "resize"),
        ("serve.batchsize", "batch_size"),
        ("serve.limits", None),
        ("architectur", "architecture"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_valid_one(
    tmp_path: Path, key: str, nearest: str | None
) -> None:
    value: object = 1
    if nearest is None:
        value, key, nearest = {"max_pixel": 9}, "serve.limits", "max_pixels"
    with pytest.raises(RecipeError, match=f"unknown key. Did you mean {nearest}\\?"):
        read_recipe(changed(tmp_path, key, value))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.lr", -1, "train.lr: .*greater than 0"),
        ("image.crop", 64, "crop"),
        ("image.std", [0.0], "std"),
        ("name", "tokenizer", "may not start with 'token'"),
        ("name", "../up", "name"),
        ("data.source", "web", "data.source"),
    ],
)
def test_a_broken_rule_names_its_key(tmp_path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(changed(tmp_path, key, value))


def test_overrides_are_yaml_and_reach_nested_keys() -> None:
    recipe = read_recipe(
        MODELS / "resnet.yaml", ("train.epochs=3", "train.augment.rotate_deg=0", "image.mean=[0.5]")
    )
    assert recipe.train.epochs == 3
    assert recipe.train.augment.rotate_deg == 0
    assert recipe.image.mean == (0.5,)


@pytest.mark.parametrize("override", ["train.epochs", "name.first=1", "train.lr=[1"])
def test_an_override_that_is_not_one_is_refused(override: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        read_recipe(MODELS / "resnet.yaml", (override,))


def test_a_missing_recipe_says_where_the_shipped_ones_are() -> None:
    with pytest.raises(RecipeError, match=r"no recipe at nowhere.yaml.*models/\*.yaml"):
        read_recipe(Path("nowhere.yaml"))


def test_a_delay_of_zero_would_be_a_hundred_milliseconds() -> None:
    with pytest.raises(RecipeError, match=r"serve\.max_batch_delay_ms.*greater than 0"):
        read_recipe(MODELS / "resnet.yaml", ("serve.max_batch_delay_ms=0",))
