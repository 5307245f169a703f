"""Which kind of file a run of bytes is, by its first bytes alone."""

from __future__ import annotations

from typing import Literal

from handlers.errors import BadImage, UnsupportedImage

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]

SUPPORTED = "a JPEG, PNG, WebP, GIF, BMP or TIFF image"

_SUPPORTED_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)

_OTHER_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"<svg", "an SVG"),
    (b"<?xml", "XML or SVG"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\0\0\2\0", "a cursor (CUR)"),
    (b"icns", "an icon (ICNS)"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"v/1\1", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (b"\0\0\1\xba", "MPEG video"),
    (b"\0\0\1\xb3", "MPEG video"),
    (b"OggS", "Ogg media"),
    (b"FLV\1", "Flash video"),
)

# ISO base media files say what they hold in the brand behind `ftyp` (ISO/IEC 14496-12, 4.3).
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_NETPBM = frozenset(b"P%d" % kind for kind in range(1, 8))


def sniff(data: bytes) -> Format:
    """Tell the format of an image that can be decoded here.

    Args:
        data: The whole file; only its first bytes are read.

    Returns:
        One of the six formats served.

    Raises:
        BadImage: No bytes at all, or none of a known kind.
        UnsupportedImage: A known kind of file that is not served.
    """
    if not data:
        raise BadImage(f"expected {SUPPORTED}, got no bytes at all")
    head = data[:32]
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    for magic, name in _SUPPORTED_MAGIC:
        if head.startswith(magic):
            return name
    if kind := _other_kind(head):
        raise UnsupportedImage(f"expected {SUPPORTED}, got {kind}: convert it first")
    raise BadImage(f"expected {SUPPORTED}, got {len(data):,} bytes that are not an image")


def _other_kind(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return _media_kind(head[8:12])
    if head.startswith(b"RIFF"):
        return "RIFF audio or video"
    if head[:2] in _NETPBM and head[2:3].isspace():
        return "Netpbm"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, kind in _OTHER_MAGIC:
        if head.startswith(magic) or (magic.startswith(b"<") and text.startswith(magic)):
            return kind
    return None


def _media_kind(brand: bytes) -> str:
    if brand in _AVIF_BRANDS:
        return "AVIF"
    if brand in _HEIF_BRANDS:
        return "HEIC"
    return "MP4 or QuickTime video"
