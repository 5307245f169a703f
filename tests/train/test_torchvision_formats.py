"""The data sets of torchvision with a format of their own each, from small folders in that format.

Each writer below fills a folder as the data set's authors pack it, with as many pictures of a class
and split as its table says. Every picture is of its class's own grey, so that one under a wrong
label shows.
"""

from __future__ import annotations

import bz2
import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision import datasets

from marina.recipe import Data, SplitName
from marina.train.dataset import read_split
from marina.train.torchvision_source import SPLITS

Writer = Callable[[Path, pytest.MonkeyPatch], None]
TESTED_ELSEWHERE = {  # in test_torchvision_source.py
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "FashionMNIST",
    "KMNIST",
    "SVHN",
    "DTD",
    "EuroSAT",
}
GREY = (40, 200)  # of the first and second class


def picture(file: Path, target: int) -> str:
    """Write a picture of a class, and give its name without folders and suffix."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 16), (GREY[target],) * 3).save(file)
    return file.stem


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def usps(root: Path, _: pytest.MonkeyPatch) -> None:
    for name, count in (("usps.bz2", 10), ("usps.t.bz2", 2)):
        lines = []
        for index in range(count):
            value = GREY[index % 2] / 255 * 2 - 1
            pixels = " ".join(f"{place + 1}:{value:.6f}" for place in range(256))
            lines.append(f"{index % 2 + 1} {pixels}\n")  # its labels begin at 1
        (root / name).write_bytes(bz2.compress("".join(lines).encode()))


def stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "stl10_binary"
    folder.mkdir()
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    for part, count in (("train", 10), ("test", 2)):
        targets = np.arange(count, dtype=np.uint8) % 2
        pixels = np.array(GREY, dtype=np.uint8)[targets][:, None].repeat(3 * 96 * 96, axis=1)
        pixels.tofile(folder / f"{part}_X.bin")
        (targets + 1).tofile(folder / f"{part}_y.bin")
    np.zeros((1, 3 * 96 * 96), dtype=np.uint8).tofile(folder / "unlabeled_X.bin")
    for part in ("train_list", "test_list"):
        listed = [[name, md5(folder / name)] for name, _ in getattr(datasets.STL10, part)]
        monkeypatch.setattr(datasets.STL10, part, listed)


def gtsrb(root: Path, _: pytest.MonkeyPatch) -> None:
    for index in range(10):
        picture(root / f"gtsrb/GTSRB/Training/{index % 2:05d}/{index:05d}.ppm", index % 2)
    with (root / "gtsrb/GT-final_test.csv").open("w", newline="") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(
            ["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"]
        )
        for target in (1, 0):
            name = f"{target:05d}.ppm"
            picture(root / "gtsrb/GTSRB/Final_Test/Images" / name, target)
            table.writerow([name, 24, 16, 5, 5, 20, 12, target])


def food101(root: Path, _: pytest.MonkeyPatch) -> None:
    meta = root / "food-101/meta"
    meta.mkdir(parents=True)
    for part, count in (("train", 5), ("test", 1)):
        listed: dict[str, list[str]] = {}
        for target, label in enumerate(("apple_pie", "waffles")):
            listed[label] = [f"{label}/{part}{number}" for number in range(count)]
            for name in listed[label]:
                picture(root / f"food-101/images/{name}.jpg", target)
        (meta / f"{part}.json").write_text(json.dumps(listed))


def stanford_cars(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = np.array(["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"], dtype=object)
    scipy.io.savemat(folder / "devkit/cars_meta.mat", {"class_names": names})
    for part, count, annotated in (
        ("train", 10, "devkit/cars_train_annos.mat"),
        ("test", 2, "cars_test_annos_withlabels.mat"),
    ):
        rows = np.zeros(count, dtype=[("class", "O"), ("fname", "O")])
        for index in range(count):
            picture(folder / f"cars_{part}/{index:05d}.jpg", index % 2)
            rows[index] = (np.uint8(index % 2 + 1), f"{index:05d}.jpg")
        scipy.io.savemat(folder / annotated, {"annotations": rows})


def fgvc_aircraft(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "fgvc-aircraft-2013b/data"
    folder.mkdir(parents=True)
    labels = ("Boeing 707-320", "F/A-18")
    (folder / "variants.txt").write_text("\n".join(labels) + "\n")
    for part, count in (("train", 4), ("val", 1), ("test", 1)):
        lines = []
        for target, label in enumerate(labels):
            for number in range(count):
                name = picture(folder / f"images/{part}{target}{number}.jpg", target)
                lines.append(f"{name} {label}\n")
        (folder / f"images_variant_{part}.txt").write_text("".join(lines))


def flowers102(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "flowers-102"
    for number in range(1, 13):
        picture(folder / f"jpg/image_{number:05d}.jpg", number % 2)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": [n % 2 + 1 for n in range(1, 13)]})
    numbers = {"trnid": list(range(1, 9)), "valid": [9, 10], "tstid": [11, 12]}
    scipy.io.savemat(folder / "setid.mat", numbers)
    listed = dict(datasets.Flowers102._file_dict)
    for key in ("label", "setid"):
        listed[key] = (listed[key][0], md5(folder / listed[key][0]))
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", listed)


def rendered_sst2(root: Path, _: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 4), ("valid", 1), ("test", 1)):
        for target, label in enumerate(("negative", "positive")):
            for number in range(count):
                picture(root / f"rendered-sst2/{part}/{label}/{number}.png", target)


def caltech101(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "caltech101/101_ObjectCategories"
    picture(folder / "BACKGROUND_Google/image_0001.jpg", 0)
    for target, label in enumerate(("accordion", "yin_yang")):
        for number in range(1, 7):
            picture(folder / f"{label}/image_{number:04d}.jpg", target)


def caltech256(root: Path, _: pytest.MonkeyPatch) -> None:
    for target, label in enumerate(("001.ak47", "002.american-flag")):
        for number in range(1, 7):
            name = f"{target + 1:03d}_{number:04d}.jpg"
            picture(root / f"caltech256/256_ObjectCategories/{label}/{name}", target)


def sun397(root: Path, _: pytest.MonkeyPatch) -> None:
    labels = ("abbey", "apartment_building/outdoor")
    for target, label in enumerate(labels):
        for number in range(6):
            picture(root / f"SUN397/a/{label}/sun_{number}.jpg", target)
    (root / "SUN397/ClassName.txt").write_text("".join(f"/a/{label}\n" for label in labels))


def semeion(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for index in range(12):
        pixels = [f"{GREY[index % 2] / 255:.4f}"] * 256
        digit = ["1" if place == index % 2 else "0" for place in range(10)]
        rows.append(" ".join([*pixels, *digit]) + " \n")
    (root / "semeion.data").write_text("".join(rows))
    monkeypatch.setattr(datasets.SEMEION, "md5_checksum", md5(root / "semeion.data"))


def oxford_iiit_pet(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for part, count in (("trainval", 5), ("test", 1)):
        lines = []
        for target, label in enumerate(("Abyssinian", "american_bulldog")):
            for number in range(count):
                name = f"{label}_{part == 'test':d}{number}"
                picture(folder / f"images/{name}.jpg", target)
                lines.append(f"{name} {target + 1} {target + 1} 1\n")
        (folder / f"annotations/{part}.txt").write_text("".join(lines))


def country211(root: Path, _: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 4), ("valid", 1), ("test", 1)):
        for target, label in enumerate(("AD", "ZW")):
            for number in range(count):
                picture(root / f"country211/{part}/{label}/{number}.jpg", target)


def imagenette(root: Path, _: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 5), ("val", 1)):
        for target, label in enumerate(("n01440764", "n02102040")):
            for number in range(count):
                picture(root / f"imagenette2/{part}/{label}/{number}.jpeg", target)


# Its writer, and its two classes as folders are named after them.
FORMATS: dict[str, tuple[Writer, tuple[str, str]]] = {
    "USPS": (usps, ("0", "1")),
    "STL10": (stl10, ("airplane", "bird")),
    "GTSRB": (gtsrb, ("0", "1")),
    "Food101": (food101, ("apple_pie", "waffles")),
    "StanfordCars": (
        stanford_cars,
        ("AM General Hummer SUV 2000", "Ram C-V Cargo Van Minivan 2012"),
    ),
    "FGVCAircraft": (fgvc_aircraft, ("Boeing 707-320", "F-A-18")),
    "Flowers102": (flowers102, ("pink primrose", "hard-leaved pocket orchid")),
    "RenderedSST2": (rendered_sst2, ("negative", "positive")),
    "Caltech101": (caltech101, ("accordion", "yin_yang")),
    "Caltech256": (caltech256, ("001.ak47", "002.american-flag")),
    "SUN397": (sun397, ("abbey", "apartment_building-outdoor")),
    "SEMEION": (semeion, ("0", "1")),
    "OxfordIIITPet": (oxford_iiit_pet, ("Abyssinian", "American Bulldog")),
    "Country211": (country211, ("AD", "ZW")),
    "Imagenette": (imagenette, ("tench", "English springer")),
}


def test_every_known_one_is_tested() -> None:
    assert FORMATS.keys() | TESTED_ELSEWHERE == SPLITS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_its_files_become_a_folder_per_class(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, labels = FORMATS[name]
    write(tmp_path, monkeypatch)
    absent = {"val_fraction": 0.2, "test_fraction": 0.2}
    fractions = {key: share for key, share in absent.items() if key[:-9] not in SPLITS[name]}
    if len(fractions) == 2:  # 12 pictures without splits of their own
        fractions = {"val_fraction": 1 / 6, "test_fraction": 1 / 6}
    data = Data(
        source="torchvision",
        dataset=name,
        original=tmp_path,
        root=tmp_path / "out",
        **fractions,  # type: ignore[arg-type]
    )
    counts: dict[SplitName, int] = {"train": 4, "val": 1, "test": 1}  # of each class
    for split, count in counts.items():
        found = read_split(data, split)
        assert set(found.labels) == set(labels)
        seen: Counter[str] = Counter()
        for file, target in zip(found.files, found.targets, strict=True):
            label = found.labels[target]
            seen[label] += 1
            with Image.open(file) as image:
                grey = int(np.asarray(image.convert("L")).mean().round())
            assert abs(grey - GREY[labels.index(label)]) <= 2, f"{file} is of the other class"
        assert seen == dict.fromkeys(labels, count)


def test_the_order_of_a_folder_on_disk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sun397(tmp_path, monkeypatch)
    for number in range(6):  # tells them apart
        Image.new("L", (24, 16), number * 40).save(tmp_path / f"SUN397/a/abbey/sun_{number}.jpg")

    def prepared(root: Path) -> dict[str, bytes]:
        data = Data(source="torchvision", dataset="SUN397", original=tmp_path, root=root)
        files = read_split(data, "train").files
        return {str(file.relative_to(root)): file.read_bytes() for file in files}

    one_way = prepared(tmp_path / "one")
    found = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda *args: reversed(list(found(*args))))
    assert prepared(tmp_path / "other") == one_way
