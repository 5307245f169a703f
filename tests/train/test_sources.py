from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marina.errors import DataError
from marina.files import sha256_tree
from marina.recipe import Data, Recipe, Synthetic
from marina.train.dataset import ImageDataset, read_split
from marina.train.sources import prepare


def test_digits_become_an_image_folder_with_stratified_splits(quick_recipe: Recipe) -> None:
    data = quick_recipe.data
    splits = {name: read_split(data, name) for name in ("train", "val", "test")}
    assert sum(len(split.files) for split in splits.values()) == 1797
    assert all(split.labels == tuple("0123456789") for split in splits.values())
    counts = np.bincount(splits["test"].targets)
    assert counts.min() >= 34
    assert counts.max() <= 38
    with Image.open(splits["train"].files[0]) as image:
        assert (image.size, image.mode, image.format) == ((8, 8), "L", "PNG")


def test_the_same_seed_writes_the_same_folder(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        data = Data(source="digits", root=tmp_path / name, seed=seed)
        prepare(data)
        digests.append(sha256_tree(data.root))
    assert digests[0] == digests[1] != digests[2]


def test_a_folder_that_was_written_for_other_keys_is_not_taken(tmp_path: Path) -> None:
    prepare(Data(source="synthetic", root=tmp_path / "made"))
    prepare(Data(source="synthetic", root=tmp_path / "made"))
    with pytest.raises(DataError, match=r'was written for .*"seed": 0.*asks for .*"seed": 1'):
        prepare(Data(source="synthetic", root=tmp_path / "made", seed=1))


def test_synthetic_classes_differ_and_lie_in_every_split(tmp_path: Path) -> None:
    made = Synthetic(classes=3, images=12, size_px=16)
    data = Data(source="synthetic", root=tmp_path / "made", synthetic=made)
    splits = {name: read_split(data, name) for name in ("train", "val", "test")}
    assert all(set(split.targets) == {0, 1, 2} for split in splits.values())
    assert sum(len(split.files) for split in splits.values()) == 12
    hues = []
    for index in range(3):
        with Image.open(splits["val"].files[index]) as image:
            assert (image.size, image.mode) == ((16, 16), "RGB")
            hues.append(np.asarray(image).mean((0, 1)).argmax())
    assert sorted(hues) == [0, 1, 2]


def test_an_image_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, label in enumerate(("ants", "bees")):
            (tmp_path / split / label).mkdir(parents=True)
            Image.new("RGB", (9, 7), (number, 0, 0)).save(tmp_path / split / label / "x.jpg")
    data = Data(source="folder", root=tmp_path, splits={"test": "val"})
    test = read_split(data, "test")
    assert test.labels == ("ants", "bees")
    assert test.targets == (0, 1)


def test_a_corrupt_image_is_named(quick_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "broken.png").write_bytes(b"no image")
    split = read_split(Data(source="folder", root=tmp_path), "train")
    dataset = ImageDataset(split, quick_recipe.image, quick_recipe.serve.limits)
    with pytest.raises(DataError, match=r"train/a/broken\.png.*on_error=skip"):
        dataset[0]


def test_a_corrupt_image_is_named_and_skipped_if_the_recipe_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(Data(source="synthetic", root=tmp_path / "made"))
    (tmp_path / "made" / "train" / "class0" / "broken.png").write_bytes(b"no image")
    skipping = Data(source="folder", root=tmp_path / "made", on_error="skip")
    fatal = Data(source="folder", root=tmp_path / "made")
    sound, all_files = read_split(skipping, "train"), read_split(fatal, "train")
    assert len(sound.files) == len(all_files.files) - 1
    assert len(sound.targets) == len(sound.files)
    assert not any(file.name == "broken.png" for file in sound.files)
    said = capsys.readouterr().err.replace("\n", "")
    assert "broken.png" in said
    assert "skipped" in said


def test_a_missing_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected .*/train/<class>"):
        prepare(Data(source="folder", root=tmp_path / "nowhere"))
