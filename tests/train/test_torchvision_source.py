"""Each data set is a small folder in its own on-disk format, read by torchvision itself."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision import datasets

from marina.errors import DataError
from marina.recipe import Data
from marina.train.dataset import read_split
from marina.train.sources import prepare
from marina.train.torchvision_source import SPLITS

GENERATOR = np.random.default_rng(0)


def pickled(folder: Path, name: str, content: dict[str, Any]) -> list[str]:
    """Write one of CIFAR's files; give its name and checksum, as torchvision lists them."""
    folder.mkdir(exist_ok=True)
    raw = pickle.dumps(content)
    (folder / name).write_bytes(raw)
    return [name, hashlib.md5(raw).hexdigest()]


def cifar(root: Path, monkeypatch: pytest.MonkeyPatch, kind: type, key: str, classes: int) -> None:
    folder = root / kind.base_folder  # type: ignore[attr-defined]
    names = {"train": [], "test": []}
    for part, listed in (("train", kind.train_list), ("test", kind.test_list)):  # type: ignore[attr-defined]
        for name, _ in listed:
            labels = [index % classes for index in range(20)]
            images = GENERATOR.integers(0, 256, (20, 3072), dtype=np.uint8)
            names[part].append(pickled(folder, name, {"data": images, key: labels}))
    labels = [f"thing/{number}" for number in range(classes)]
    meta = pickled(folder, kind.meta["filename"], {kind.meta["key"]: labels})  # type: ignore[attr-defined]
    monkeypatch.setattr(kind, "train_list", names["train"])
    monkeypatch.setattr(kind, "test_list", names["test"])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": meta[1]})  # type: ignore[attr-defined]


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar(tmp_path, monkeypatch, datasets.CIFAR10, "labels", 10)
    data = torchvision_data(tmp_path, "CIFAR10", val_fraction=0.2)
    assert [len(read_split(data, name).files) for name in ("train", "val", "test")] == [80, 20, 20]
    test = read_split(data, "test")
    assert len(test.labels) == 10
    assert "thing-3" in test.labels
    with Image.open(test.files[0]) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar(tmp_path, monkeypatch, datasets.CIFAR100, "fine_labels", 5)
    data = torchvision_data(tmp_path, "CIFAR100", val_fraction=0.25)
    assert [len(read_split(data, name).files) for name in ("train", "val", "test")] == [15, 5, 20]


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist_and_its_kin_from_idx_files(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        images = GENERATOR.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">iiii", 0x803, count, 28, 28) + images.tobytes()
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">ii", 0x801, count) + labels.tobytes()
        )
    data = torchvision_data(tmp_path, name, val_fraction=0.25)
    assert [len(read_split(data, split).files) for split in ("train", "val", "test")] == [
        30,
        10,
        20,
    ]
    with Image.open(read_split(data, "test").files[0]) as image:
        assert (image.size, image.mode) == ((28, 28), "L")


def test_svhn_from_matlab_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {}
    for part, (url, name, _) in datasets.SVHN.split_list.items():
        images = GENERATOR.integers(0, 256, (32, 32, 3, 30), dtype=np.uint8)
        labels = (np.arange(30) % 10 + 1)[:, None]  # in these files a zero is a 10
        scipy.io.savemat(tmp_path / name, {"X": images, "y": labels})
        listed[part] = [url, name, hashlib.md5((tmp_path / name).read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    data = torchvision_data(tmp_path, "SVHN")
    test = read_split(data, "test")
    assert test.labels == tuple("0123456789")
    assert len(test.files) == 30


def test_dtd_from_its_lists_and_jpegs(tmp_path: Path) -> None:
    labels, images = tmp_path / "dtd/dtd/labels", tmp_path / "dtd/dtd/images"
    labels.mkdir(parents=True)
    for part in ("train", "val", "test"):
        lines = []
        for texture in ("banded", "dotted"):
            (images / texture).mkdir(parents=True, exist_ok=True)
            name = f"{texture}/{texture}_{part}.jpg"
            Image.new("RGB", (40, 30), "teal").save(images / name)
            lines.append(name)
        (labels / f"{part}1.txt").write_text("\n".join(lines) + "\n")
    data = torchvision_data(tmp_path, "DTD")
    for part in ("train", "val", "test"):
        assert read_split(data, part).targets == (0, 1)


def test_eurosat_has_no_splits_of_its_own(tmp_path: Path) -> None:
    for land in ("Forest", "River"):
        folder = tmp_path / "eurosat/2750" / land
        folder.mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / f"{number}.jpg")
    data = torchvision_data(tmp_path, "EuroSAT", val_fraction=0.2, test_fraction=0.2)
    assert [len(read_split(data, name).files) for name in ("train", "val", "test")] == [12, 4, 4]


@pytest.mark.parametrize("name", SPLITS)
def test_one_that_is_not_there_says_how_to_get_it(tmp_path: Path, name: str) -> None:
    data = torchvision_data(tmp_path, name)
    with pytest.raises(DataError, match=rf"no {name} in .*--set data.download=true"):
        prepare(data)
    assert not data.root.exists()


def test_an_unknown_one_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set 'CIFAR11'.*CIFAR10"):
        prepare(torchvision_data(tmp_path, "CIFAR11"))


def torchvision_data(original: Path, name: str, **keys: Any) -> Data:
    return Data(
        source="torchvision", dataset=name, original=original, root=original / "out", **keys
    )
