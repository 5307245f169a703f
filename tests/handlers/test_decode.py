from __future__ import annotations

import time
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import BLUE, GRAY, GREEN, RED, corners, encode, faults, quadrants, turned
from PIL import Image

from handlers.decode import decode
from handlers.errors import ImageError

WHITE = (255, 255, 255)


def near(seen: Any, expected: Any, tolerance: int) -> bool:
    pairs = zip(seen, expected, strict=True)
    return all(
        abs(a - b) <= tolerance for left, right in pairs for a, b in zip(left, right, strict=True)
    )


def transparent() -> Image.Image:
    """The quadrants with the green one fully transparent."""
    image = quadrants().convert("RGBA")
    image.paste((10, 250, 10, 0), (24, 0, 48, 16))
    return image


COLOURS = [RED, GREEN, BLUE, GRAY]
OVER_WHITE = [RED, WHITE, BLUE, GRAY]


@pytest.mark.parametrize(
    ("data", "expected", "tolerance"),
    [
        pytest.param(encode(quadrants(), "PNG"), COLOURS, 0, id="PNG RGB"),
        pytest.param(encode(quadrants(), "BMP"), COLOURS, 0, id="BMP RGB"),
        pytest.param(encode(quadrants(), "TIFF"), COLOURS, 0, id="TIFF RGB"),
        pytest.param(encode(quadrants(), "TIFF", compression="tiff_lzw"), COLOURS, 0, id="LZW"),
        pytest.param(encode(quadrants(), "JPEG", quality=95), COLOURS, 12, id="JPEG"),
        pytest.param(
            encode(quadrants(), "JPEG", quality=95, progressive=True), COLOURS, 12, id="progressive"
        ),
        pytest.param(encode(quadrants(), "WEBP", lossless=True), COLOURS, 0, id="WebP lossless"),
        pytest.param(encode(quadrants(), "WEBP", quality=95), COLOURS, 24, id="WebP lossy"),
        pytest.param(encode(quadrants().quantize(8), "PNG"), COLOURS, 3, id="PNG palette"),
        pytest.param(encode(quadrants().quantize(8), "GIF"), COLOURS, 3, id="GIF"),
        pytest.param(
            encode(quadrants(), "GIF", save_all=True, append_images=[Image.new("RGB", (48, 32))]),
            COLOURS,
            3,
            id="GIF animated",
        ),
        pytest.param(
            encode(quadrants(), "TIFF", save_all=True, append_images=[Image.new("RGB", (48, 32))]),
            COLOURS,
            0,
            id="TIFF pages",
        ),
        pytest.param(
            encode(quadrants().convert("CMYK"), "JPEG", quality=95), COLOURS, 12, id="CMYK JPEG"
        ),
        pytest.param(encode(quadrants().convert("CMYK"), "TIFF"), COLOURS, 2, id="CMYK TIFF"),
        pytest.param(encode(transparent(), "PNG"), OVER_WHITE, 0, id="PNG RGBA"),
        pytest.param(encode(transparent(), "TIFF"), OVER_WHITE, 0, id="TIFF RGBA"),
        pytest.param(encode(transparent(), "WEBP", lossless=True), OVER_WHITE, 0, id="WebP RGBA"),
        pytest.param(encode(quadrants(), "PNG", transparency=GREEN), OVER_WHITE, 0, id="PNG tRNS"),
        pytest.param(encode(Image.new("LA", (48, 32), (7, 0)), "PNG"), [WHITE] * 4, 0, id="PNG LA"),
        pytest.param(
            encode(Image.new("L", (48, 32), 77), "PNG"), [(77, 77, 77)] * 4, 0, id="PNG L"
        ),
        pytest.param(encode(Image.new("1", (48, 32), 1), "PNG"), [WHITE] * 4, 0, id="PNG 1-bit"),
        pytest.param(
            encode(Image.new("I;16", (48, 32), 257 * 90), "PNG"), [(90,) * 3] * 4, 0, id="PNG 16"
        ),
        pytest.param(
            encode(Image.new("I;16", (48, 32), 257 * 90), "TIFF"), [(90,) * 3] * 4, 0, id="TIFF 16"
        ),
    ],
)
def test_each_mode_and_format_gives_its_colours(
    data: bytes, expected: list[Any], tolerance: int
) -> None:
    image = decode(data, "RGB")
    assert image.mode == "RGB"
    assert image.size == (48, 32)
    assert near(corners(image), expected, tolerance), corners(image)
    gray = decode(data, "L")
    assert gray.mode == "L"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_each_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    image = decode(turned(kind, orientation), "RGB")
    assert image.size == (48, 32)
    assert near(corners(image), COLOURS, 40), corners(image)


@pytest.mark.parametrize("name", faults())
def test_each_fault_gets_its_status_soon(name: str) -> None:
    data, status = faults()[name]
    start = time.perf_counter()
    with pytest.raises(ImageError) as caught:
        decode(data, "RGB")
    assert caught.value.status == status
    assert time.perf_counter() - start < 1
    body = caught.value.body()
    assert set(body) == {"code", "type", "message"}
    assert body["code"] == status
    assert "words" not in body["message"]


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
    flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6),
    keep=st.floats(0, 1),
)
def test_damage_gives_an_image_or_an_image_error(
    kind: str, flips: list[tuple[int, int]], keep: float
) -> None:
    data = bytearray(encode(quadrants(), kind))
    for place, value in flips:
        data[place % len(data)] = value
    try:
        image = decode(bytes(data[: max(1, int(len(data) * keep))]), "RGB")
    except ImageError:
        return
    assert image.mode == "RGB"


def test_the_pictures_are_what_they_say() -> None:
    assert corners(Image.open(BytesIO(encode(quadrants(), "PNG")))) == COLOURS
