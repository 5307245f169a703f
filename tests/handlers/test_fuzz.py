"""Bytes that nobody meant: each is answered with pixels or with an error of the input's own."""

from __future__ import annotations

import json
import struct
from functools import cache
from typing import Any

import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pictures import encode, png_chunk, quadrants, turned

from handlers.errors import ImageError
from handlers.image_spec import ImageLimits, ImageSpec
from handlers.preprocess import load_pixels
from handlers.request import read_image

SPEC = ImageSpec(20, 16, (0.5,) * 3, (0.25,) * 3)
LIMITS = ImageLimits(max_pixels=1_000_000)
REFUSED = (400, 413, 415)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

fuzzed = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,  # the same cases in every run; `make fuzz` looks for new ones
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@cache
def seeds() -> tuple[bytes, ...]:
    image = quadrants()
    plain = [encode(image, kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")]
    modes = [
        encode(image.convert(mode), kind)
        for kind, names in {
            "PNG": ("1", "L", "LA", "P", "RGBA", "I;16"),
            "JPEG": ("L", "CMYK"),
            "TIFF": ("1", "L", "P", "RGBA", "CMYK", "I;16"),
            "WEBP": ("RGBA",),
        }.items()
        for mode in names
    ]
    packed = [
        encode(image, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "tiff_deflate")
    ]
    options = [encode(image, "WEBP", lossless=True), encode(image, "JPEG", progressive=True)]
    return (*plain, *modes, *packed, *options, turned("JPEG", 6), turned("PNG", 3))


def with_true_checksums(data: bytes) -> bytes:
    """Make a damaged PNG's checksums right, so that what lies behind them is reached."""
    parts, start = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        parts.append(png_chunk(kind, data[start + 8 : start + 8 + length]))
        start += 12 + length
    return b"".join(parts)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file with some of its bytes changed, cut, repeated or taken from another."""
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(st.sampled_from(["bytes", "number", "cut", "repeat", "splice"]))
        if change == "bytes":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=8))
        elif change == "number":
            width = draw(st.sampled_from([1, 2, 4]))
            value = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF]))
            order = draw(st.sampled_from(["little", "big"]))
            data[at : at + width] = (value % 256**width).to_bytes(width, order)
        elif change == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif change == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        else:
            data[at:] = draw(st.sampled_from(seeds()))[at:]
    made = bytes(data)
    if made.startswith(PNG_SIGNATURE) and draw(st.booleans()):
        return with_true_checksums(made)
    return made


def outcome(refusal: ImageError) -> str:
    assert refusal.status in REFUSED
    assert len(str(refusal)) < 300  # never the input itself
    return "refused"


def check(data: bytes) -> str:
    """Load an image as the handler would; tell what came of it."""
    try:
        pixels = load_pixels(data, SPEC, LIMITS)
    except ImageError as refusal:
        return outcome(refusal)
    assert (tuple(pixels.shape), pixels.dtype) == ((3, 16, 16), torch.uint8)
    return "loaded"


def test_the_seeds_are_whole() -> None:
    assert {check(seed) for seed in seeds()} == {"loaded"}


@fuzzed
@given(damaged())
def test_a_damaged_image_is_loaded_or_refused(data: bytes) -> None:
    check(data)


@fuzzed
@given(st.binary(max_size=300))
@example(PNG_SIGNATURE)
@example(b"RIFF\0\0\0\0WEBP")
@example(b"II*\0\0\0\0\0")
def test_any_bytes_are_refused(data: bytes) -> None:
    assert check(data) == "refused"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["aGVsbG8=", "data:,"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "b64", "instances", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@fuzzed
@given(JSON, st.sampled_from(["document", "text", "bytes"]))
def test_any_json_gives_bytes_or_a_refusal(document: Any, form: str) -> None:
    text = json.dumps(document)
    body = {"document": json.loads(text), "text": text, "bytes": bytearray(text.encode())}[form]
    try:
        assert isinstance(read_image({"body": body}), bytes)
    except ImageError as refusal:
        outcome(refusal)
