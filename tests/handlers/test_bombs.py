"""Small files that would become large: each is refused in 50 ms of CPU and 50 MB."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import pytest
from pictures import encode, png_chunk, png_of_size, quadrants

from handlers.errors import ImageError
from handlers.image_spec import ImageLimits, ImageSpec
from handlers.preprocess import load_pixels

SPEC = ImageSpec(256, 224, (0.5,) * 3, (0.25,) * 3)
MAX_CPU_S = 0.05
MAX_GROWTH_KB = 50 * 1024
ZEROS = zlib.compress(bytes(64 << 20))  # 64 KB that are 64 MB


def patched(kind: str, before: bytes, layout: str, *sides: int) -> bytes:
    """Write other sides into a file, behind the first place that has these bytes."""
    data = bytearray(encode(quadrants(), kind))
    struct.pack_into(layout, data, data.index(before) + len(before), *sides)
    return bytes(data)


def png_with(chunk: bytes) -> bytes:
    """Put a chunk before the pixels of a PNG."""
    png = encode(quadrants(), "PNG")
    at = png.index(b"IDAT") - 4
    return png[:at] + chunk + png[at:]


def tiff_of_size(width: int, height: int) -> bytes:
    """Change ImageWidth (256) and ImageLength (257), which come first."""
    data = bytearray(encode(quadrants(), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    for entry in range(2):
        at = directory + 2 + 12 * entry
        tag, kind = struct.unpack_from("<HH", data, at)
        assert tag == 256 + entry
        struct.pack_into("<I" if kind == 4 else "<H", data, at + 8, (width, height)[entry])
    return bytes(data)


BOMBS = {
    "PNG": (png_of_size(60000, 60000), 413),
    "a wide ribbon": (png_of_size(60000, 1), 413),
    "a tall ribbon": (png_of_size(1, 60000), 413),
    "a ribbon of few pixels": (png_of_size(20000, 2), 413),
    "the largest PNG": (png_of_size(2**31 - 1, 2**31 - 1), 413),
    "JPEG": (patched("JPEG", b"\xff\xc0\x00\x11\x08", ">HH", 65500, 65500), 413),
    "GIF": (patched("GIF", b"GIF87a", "<HH", 65535, 65535), 413),
    "BMP": (patched("BMP", struct.pack("<I", 40), "<ii", 60000, 60000), 413),
    "TIFF": (tiff_of_size(65535, 65535), 413),
    "WEBP": (patched("WEBP", b"\x9d\x01\x2a", "<HH", 16383, 16383), 413),
    "a PNG's text": (png_with(png_chunk(b"zTXt", b"k\0\0" + ZEROS)), 400),
    "a PNG's profile": (png_with(png_chunk(b"iCCP", b"k\0\0" + ZEROS)), 400),
    "a PNG's pixels, more than it has": (png_with(png_chunk(b"IDAT", ZEROS)), 200),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_next_to_nothing(name: str) -> None:
    data, status = BOMBS[name]
    before_kb = resident_kb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    begun = time.thread_time()
    seen = status_of(data)
    assert time.thread_time() - begun < MAX_CPU_S
    assert resident_kb("VmHWM") - before_kb < MAX_GROWTH_KB
    assert seen == status


def status_of(data: bytes) -> int:
    try:
        load_pixels(data, SPEC, ImageLimits())
    except ImageError as refusal:
        return refusal.status
    return 200


def resident_kb(name: str) -> int:
    """Give what the process holds (VmRSS), or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
