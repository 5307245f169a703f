"""The size that a WebP file declares (RFC 9649)."""

from __future__ import annotations

import struct

HEADER_BYTES = 30


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Read a WebP's canvas size without Pillow, whose reader allocates the canvas at once.

    Args:
        data: The file, at least its first 30 bytes.

    Returns:
        Width and height in pixels, or None where the header is cut short or not valid: then
        the reader refuses the file by itself.
    """
    if len(data) < HEADER_BYTES:
        return None
    kind = data[12:16]
    if kind == b"VP8X":  # section 2.7.1: 24-bit width and height, each less one
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L" and data[20] == 0x2F:  # section 3.4: 14 bits each, less one
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":  # RFC 6386, section 9.1
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
