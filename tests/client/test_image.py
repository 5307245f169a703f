"""What a caller may give as an image."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from marina.client.image import image_bytes
from marina.errors import ClientError

ORIENTATION = 0x0112


def test_bytes_go_as_they_are() -> None:
    assert image_bytes(b"image") == b"image"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_read(kind: type, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    assert image_bytes(kind(tmp_path / "a.png")) == b"image"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"cannot read the image .*a\.png: No such file"):
        image_bytes(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_a_pillow_image_keeps_its_mode_and_pixels(mode: str) -> None:
    image = Image.linear_gradient("L").resize((5, 3)).convert(mode)
    sent = Image.open(io.BytesIO(image_bytes(image)))
    assert sent.mode == mode
    assert sent.tobytes() == image.tobytes()


def test_a_pillow_image_keeps_its_orientation() -> None:
    image = Image.linear_gradient("L").resize((5, 3))
    file = io.BytesIO()
    exif = image.getexif()
    exif[ORIENTATION] = 6
    image.save(file, "PNG", exif=exif)
    opened = Image.open(file)
    sent = Image.open(io.BytesIO(image_bytes(opened)))
    assert ImageOps.exif_transpose(sent).size == (3, 5)


def test_a_stream_is_read_to_its_end() -> None:
    assert image_bytes(io.BytesIO(b"image")) == b"image"
    with pytest.raises(TypeError, match="expected a binary stream, this one gives str"):
        image_bytes(io.StringIO("image"))  # type: ignore[arg-type]


def test_a_url_is_not_fetched() -> None:
    with pytest.raises(ClientError, match=r"not the URL https://x/a\.png: fetch it first"):
        image_bytes("https://x/a.png")


def test_something_else_is_refused() -> None:
    with pytest.raises(
        TypeError, match="expected bytes, a path, a binary stream or a Pillow image, not list"
    ):
        image_bytes([1, 2, 3])  # type: ignore[arg-type]
