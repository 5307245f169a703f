from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marina.errors import DataError
from marina.files import sha256_tree
from marina.recipe import Data, Recipe
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


def test_cifar10_is_read_from_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)

    def batch(name: str, content: dict[str, object]) -> list[str]:
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        return [name, hashlib.md5(raw).hexdigest()]

    def images(seed: int) -> dict[str, object]:
        labels = [index % 10 for index in range(20)]
        return {"data": generator.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": labels}

    names = [entry[0] for entry in CIFAR10.train_list]
    batches = [batch(name, images(seed)) for seed, name in enumerate(names)]
    monkeypatch.setattr(CIFAR10, "train_list", batches)
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", images(9))])
    classes = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    meta = batch("batches.meta", {"label_names": classes})
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]}
    )

    data = Data(source="cifar10", root=tmp_path / "out", original=tmp_path, val_fraction=0.2)
    assert len(read_split(data, "train").files) == 80
    assert len(read_split(data, "val").files) == 20
    test = read_split(data, "test")
    assert len(test.files) == 20
    assert test.labels == tuple(classes)
    with Image.open(test.files[0]) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")


def test_missing_cifar10_says_where_it_belongs(tmp_path: Path) -> None:
    data = Data(source="cifar10", root=tmp_path / "out", original=tmp_path)
    with pytest.raises(DataError, match=r"put cifar-10-python.tar.gz, unpacked, there"):
        prepare(data)
    assert not (tmp_path / "out").exists()


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
    with pytest.raises(DataError, match=r"train/a/broken\.png"):
        dataset[0]


def test_a_missing_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected .*/train/<class>"):
        prepare(Data(source="folder", root=tmp_path / "nowhere"))
