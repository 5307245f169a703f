"""What Pillow leaves unchecked or unscaled in a PNG (PNG, third edition, W3C 2025)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from handlers.errors import BadImage

if TYPE_CHECKING:
    from PIL import Image

SIGNATURE_BYTES = 8
CHUNK_OVERHEAD_BYTES = 12  # length, type and CRC, 4 bytes each (section 5.3)
BIT_DEPTH_OFFSET = 24  # in IHDR, which is always first (section 11.2.1)


def verify(data: bytes) -> None:
    """Check that every chunk up to IEND is there and matches its CRC.

    Pillow skips the CRCs of IDAT, so that a flipped bit would go unseen as far as zlib's own
    check, and it accepts a file whose end is missing.

    Args:
        data: The whole file; its signature is taken as checked.

    Raises:
        BadImage: The file is truncated, or a chunk differs from its CRC.
    """
    view = memoryview(data)
    start = SIGNATURE_BYTES
    kind = b""
    while kind != b"IEND":
        if start + CHUNK_OVERHEAD_BYTES > len(view):
            raise BadImage("truncated PNG: it stops before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", view, start)
        end = start + CHUNK_OVERHEAD_BYTES + length
        if end > len(view):
            raise BadImage(f"truncated PNG: it stops {end - len(view):,} bytes short in a chunk")
        (crc,) = struct.unpack_from(">I", view, end - 4)
        if zlib.crc32(view[start + 4 : end - 4]) != crc:
            raise BadImage("damaged PNG: a chunk does not match its CRC")
        start = end


def scale_key_colour(image: Image.Image, data: bytes) -> None:
    """Bring the transparent colour of a PNG (tRNS) to the scale that Pillow gives its pixels.

    Pillow scales samples of 2, 4 and 16 bits to 8 but keeps the transparent colour in the file's
    own units, so that it matches the wrong pixels or none. 16-bit gray keeps its 16 bits.

    Args:
        image: As Pillow opened it; its ``info`` is changed in place.
        data: The whole file.
    """
    key = image.info.get("transparency")
    depth = data[BIT_DEPTH_OFFSET]
    if image.mode == "L" and depth < 8 and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16 and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)
