"""What a caller may give as an image, and the bytes that go to the server."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, Union, cast

from marina.errors import ClientError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# A union of strings: Pillow is imported only by a caller that has a Pillow image already.
Image: TypeAlias = Union[bytes, str, Path, IO[bytes], "PillowImage"]

_PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})


def image_bytes(image: Image) -> bytes:
    """Give the image file to send.

    Args:
        image: The bytes of an image file, the path of one, a binary stream (which is read to its
            end), or a Pillow image. A Pillow image is encoded without loss and keeps its EXIF
            orientation.

    Raises:
        ClientError: The file cannot be read, or the path is a URL.
        TypeError: It is something else.
    """
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if isinstance(image, str) and "://" in image:
        raise ClientError(f"expected an image, not the URL {image}: fetch it first")
    if isinstance(image, str | Path):
        return _read(Path(image))
    if hasattr(image, "getexif"):
        return _encode(cast("PillowImage", image))
    if hasattr(image, "read"):
        return _read_stream(image)
    raise TypeError(
        f"expected bytes, a path, a binary stream or a Pillow image, not {type(image).__name__}"
    )


def _read_stream(stream: IO[bytes]) -> bytes:
    content: object = stream.read()
    if not isinstance(content, bytes):
        raise TypeError(f"expected a binary stream, this one gives {type(content).__name__}")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise ClientError(f"cannot read the image {path}: {err.strerror or err}") from err


def _encode(image: PillowImage) -> bytes:
    file_format = "PNG" if image.mode in _PNG_MODES else "TIFF"  # PNG has no CMYK, for one
    file = io.BytesIO()
    image.save(file, format=file_format, exif=image.getexif())
    return file.getvalue()
