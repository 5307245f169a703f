from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from marina.errors import DataError
from marina.recipe import Data
from marina.train.dataset import dataset_digest, read_split


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "some pictures").mkdir()
    for number in range(4):
        image = Image.new("RGB", (8, 8), (number, 0, 0))
        image.save(tmp_path / "some pictures" / f"{number}.png")
    return tmp_path


TEXT = "# path label\nsome pictures/0.png 10\n\nsome pictures/1.png 9\n"
CSV = 'path,label\n"some pictures/0.png",10\nsome pictures/1.png, 9\n'


@pytest.mark.parametrize(("ending", "content"), [("txt", TEXT), ("csv", CSV)])
def test_a_list_gives_images_and_classes_in_its_order(
    pictures: Path, ending: str, content: str
) -> None:
    splits = {name: f"{name}.{ending}" for name in ("train", "val", "test")}
    for file in splits.values():
        (pictures / file).write_text(content)
    split = read_split(Data(source="list", root=pictures, splits=splits), "val")
    assert split.labels == ("9", "10")  # by their value
    assert [file.name for file in split.files] == ["0.png", "1.png"]
    assert split.targets == (1, 0)
    assert split.relative(0) == "some pictures/0.png"


def test_the_lists_are_text_unless_told_otherwise(pictures: Path) -> None:
    assert Data(source="list", root=pictures).splits["val"] == "val.txt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("some pictures/0.png a\nsome pictures/9.png a\n", r"line 2: no image at .*9\.png"),
        ("lonely\n", r"line 1: expected `path label`, got \['lonely'\]"),
        ("# nothing\n", "names no image"),
    ],
)
def test_a_bad_line_is_named(pictures: Path, content: str, message: str) -> None:
    (pictures / "train.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        read_split(Data(source="list", root=pictures), "train")


def test_a_class_that_is_not_trained_on_is_refused(pictures: Path) -> None:
    (pictures / "train.txt").write_text("some pictures/0.png a\n")
    (pictures / "val.txt").write_text("some pictures/1.png b\n")
    with pytest.raises(DataError, match=r"classes that the training list lacks: \['b'\]"):
        read_split(Data(source="list", root=pictures), "val")


def test_the_digest_follows_labels_and_pixels(pictures: Path) -> None:
    data = Data(source="list", root=pictures)
    for name in data.splits.values():
        (pictures / name).write_text("some pictures/0.png a\nsome pictures/1.png b\n")
    first = dataset_digest(data)
    assert dataset_digest(data) == first
    (pictures / "val.txt").write_text("some pictures/0.png b\nsome pictures/1.png b\n")
    second = dataset_digest(data)
    Image.new("RGB", (8, 8), "red").save(pictures / "some pictures" / "1.png")
    assert len({first, second, dataset_digest(data)}) == 3
