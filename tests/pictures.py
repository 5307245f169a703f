"""Pictures with known pixels, in every mode and format that the handler must read."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image

RED, GREEN, BLUE, GRAY = (250, 10, 10), (10, 250, 10), (10, 10, 250), (120, 120, 120)
WHITE = (255, 255, 255)
COLOURS = [RED, GREEN, BLUE, GRAY]
SIZE = (48, 32)


def quadrants() -> Image.Image:
    """Red and green above, blue and gray below: 48x32, so that each turn shows."""
    image = Image.new("RGB", SIZE)
    width, height = SIZE[0] // 2, SIZE[1] // 2
    for colour, corner in zip(
        (RED, GREEN, BLUE, GRAY), ((0, 0), (width, 0), (0, height), (width, height)), strict=True
    ):
        image.paste(colour, (*corner, corner[0] + width, corner[1] + height))
    return image


def corners(image: Image.Image) -> list[Any]:
    """The pixels in the middle of the four quadrants, row by row."""
    width, height = image.size
    return [
        image.getpixel((x, y))
        for y in (height // 4, 3 * height // 4)
        for x in (width // 4, 3 * width // 4)
    ]


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Give the image as a file's bytes."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def transparent() -> Image.Image:
    """The quadrants with the green one fully transparent."""
    image = quadrants().convert("RGBA")
    image.paste((10, 250, 10, 0), (24, 0, 48, 16))
    return image


def turned(kind: str, orientation: int) -> bytes:
    """A file whose EXIF orientation says how to turn it upright, to ``quadrants()``."""
    stored = quadrants()
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    for step in undo.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(stored, kind, exif=exif)


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A PNG chunk with its right checksum."""
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png_of_size(width: int, height: int) -> bytes:
    """A small PNG that declares any size and is complete: all its rows are zero."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * min(height, 4))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(*chunk) for chunk in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


def good() -> dict[str, tuple[bytes, list[Any], int]]:
    """Good input by name, in each mode and format: file, colours, how far they may be off."""
    over_white = [RED, WHITE, BLUE, GRAY]
    return {
        "PNG RGB": (encode(quadrants(), "PNG"), COLOURS, 0),
        "BMP RGB": (encode(quadrants(), "BMP"), COLOURS, 0),
        "TIFF RGB": (encode(quadrants(), "TIFF"), COLOURS, 0),
        "LZW": (encode(quadrants(), "TIFF", compression="tiff_lzw"), COLOURS, 0),
        "JPEG": (encode(quadrants(), "JPEG", quality=95), COLOURS, 12),
        "progressive": (encode(quadrants(), "JPEG", quality=95, progressive=True), COLOURS, 12),
        "WebP lossless": (encode(quadrants(), "WEBP", lossless=True), COLOURS, 0),
        "WebP lossy": (encode(quadrants(), "WEBP", quality=95), COLOURS, 24),
        "PNG palette": (encode(quadrants().quantize(8), "PNG"), COLOURS, 3),
        "GIF": (encode(quadrants().quantize(8), "GIF"), COLOURS, 3),
        "GIF animated": (
            encode(quadrants(), "GIF", save_all=True, append_images=[Image.new("RGB", SIZE)]),
            COLOURS,
            3,
        ),
        "TIFF pages": (
            encode(quadrants(), "TIFF", save_all=True, append_images=[Image.new("RGB", SIZE)]),
            COLOURS,
            0,
        ),
        "CMYK JPEG": (encode(quadrants().convert("CMYK"), "JPEG", quality=95), COLOURS, 12),
        "CMYK TIFF": (encode(quadrants().convert("CMYK"), "TIFF"), COLOURS, 2),
        "PNG RGBA": (encode(transparent(), "PNG"), over_white, 0),
        "TIFF RGBA": (encode(transparent(), "TIFF"), over_white, 0),
        "WebP RGBA": (encode(transparent(), "WEBP", lossless=True), over_white, 0),
        "PNG tRNS": (encode(quadrants(), "PNG", transparency=GREEN), over_white, 0),
        "PNG LA": (encode(Image.new("LA", (48, 32), (7, 0)), "PNG"), [WHITE] * 4, 0),
        "PNG L": (encode(Image.new("L", (48, 32), 77), "PNG"), [(77, 77, 77)] * 4, 0),
        "PNG 1-bit": (encode(Image.new("1", (48, 32), 1), "PNG"), [WHITE] * 4, 0),
        "PNG 16": (encode(Image.new("I;16", (48, 32), 257 * 90), "PNG"), [(90,) * 3] * 4, 0),
        "TIFF 16": (encode(Image.new("I;16", (48, 32), 257 * 90), "TIFF"), [(90,) * 3] * 4, 0),
    }


def faults() -> dict[str, tuple[bytes, int]]:
    """Bad input by name, with the status that it must get."""
    png, jpeg = encode(quadrants(), "PNG"), encode(quadrants(), "JPEG")
    gif = encode(quadrants(), "GIF")
    data = png.index(b"IDAT") + 6
    cut = {
        f"truncated {kind}": (encode(quadrants(), kind)[: len(encode(quadrants(), kind)) // 2], 400)
        for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
    }
    return cut | {
        "empty": (b"", 400),
        "text": (b"these are words, not pixels", 400),
        "noise": (bytes(range(7, 256)) * 9, 400),
        "CRC of IDAT": (png[:data] + bytes([png[data] ^ 1]) + png[data + 1 :], 400),
        "CRC of IHDR": (png[:18] + bytes([png[18] ^ 1]) + png[19:], 400),
        "header alone": (jpeg[:20], 400),
        "bomb": (png_of_size(60000, 60000), 413),
        "GIF bomb": (gif[:6] + struct.pack("<HH", 60000, 60000) + gif[10:], 413),
        "ribbon": (png_of_size(20000, 2), 413),
        "PDF": (b"%PDF-1.7\n%some", 415),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', 415),
        "HEIC": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1", 415),
        "ZIP": (b"PK\x03\x04" + bytes(40), 415),
        "float TIFF": (encode(Image.new("F", (9, 9), 0.5), "TIFF"), 415),
        "32-bit TIFF": (encode(Image.new("I", (9, 9), 70000), "TIFF"), 415),
    }
