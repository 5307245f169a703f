from __future__ import annotations

import time
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import COLOURS, corners, encode, faults, good, quadrants, turned
from PIL import Image

from handlers.decode import decode
from handlers.errors import ImageError


def near(seen: Any, expected: Any, tolerance: int) -> bool:
    pairs = zip(seen, expected, strict=True)
    return all(
        abs(a - b) <= tolerance for left, right in pairs for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize(
    ("data", "expected", "tolerance"),
    good().values(),
    ids=good(),
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
