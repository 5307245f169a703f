"""Bytes of an image file to upright pixels in the mode that a model was trained on."""

from __future__ import annotations

from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from handlers import png, webp
from handlers.color import flatten
from handlers.errors import BadImage, ImageError, ImageTooLarge
from handlers.formats import Format, sniff
from handlers.image_spec import ImageLimits
from handlers.orientation import read_orientation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.ImageFile import ImageFile

    from handlers.image_spec import Mode

# Pillow's readers by name, and not Image.open: it would try its forty other formats too, import
# them all, and warn of large images before our own limits are asked.
_READERS: dict[Format, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,  # of an MPO, this reads the first picture
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}

_DEFAULT_LIMITS = ImageLimits()


def decode(
    data: bytes, mode: Mode, limits: ImageLimits = _DEFAULT_LIMITS, shrink_px: int | None = None
) -> Image.Image:
    """Decode the first picture of a JPEG, PNG, WebP, GIF, BMP or TIFF file.

    EXIF orientation is applied, transparency is laid over white, 16-bit samples are scaled.
    Colour profiles are not applied. Damage is found where the format can show it: PNG has
    checksums; in a JPEG of full length, wrong bits are only wrong pixels.

    Args:
        data: The whole file.
        mode: ``RGB`` or ``L``.
        limits: Checked on the header, before any pixel is decoded.
        shrink_px: A JPEG may be decoded at a half, a quarter or an eighth of its size, as long as
            neither side gets shorter than this.

    Returns:
        An upright image of that mode, 8 bits a channel.

    Raises:
        BadImage: Empty, not an image, truncated or damaged.
        ImageTooLarge: More pixels, or a longer shape, than the limits allow.
        UnsupportedImage: A kind of file, or of pixels, that is not served.
        MemoryError: The machine is out of memory, which is not the image's fault.
    """
    kind = sniff(data)
    with _damage_as_bad_image(kind):
        image = _open(data, kind, limits)
        if shrink_px is not None and kind == "JPEG":
            image.draft(image.mode, (shrink_px, shrink_px))
        image.load()
        turn = read_orientation(image)
        flat = flatten(image)
        if flat.mode != mode:
            flat = flat.convert(mode)
        return flat.transpose(turn) if turn is not None else flat


def open_image(data: bytes, limits: ImageLimits) -> ImageFile:
    """Read the header of an image file.

    Raises:
        ImageError: As ``decode`` raises it.
    """
    kind = sniff(data)
    with _damage_as_bad_image(kind):
        return _open(data, kind, limits)


def _open(data: bytes, kind: Format, limits: ImageLimits) -> ImageFile:
    if kind == "WEBP" and (size := webp.declared_size(data)):
        _check_size(size, limits)
    image = _READERS[kind](BytesIO(data))
    _check_size(image.size, limits)
    if kind == "PNG":
        png.verify(data)
        png.scale_key_colour(image, data)
    return image


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if min(size) < 1:
        raise BadImage(f"expected an image of at least 1x1 pixels, got {width}x{height}")
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"expected at most {limits.max_pixels:,} pixels, got {width}x{height}: scale it down"
        )
    if max(size) > limits.max_aspect_ratio * min(size):
        raise ImageTooLarge(
            f"expected sides of at most {limits.max_aspect_ratio:g} to 1, "
            f"got {width}x{height}: crop it"
        )


@contextmanager
def _damage_as_bad_image(kind: Format) -> Iterator[None]:
    """Turn whatever Pillow throws at damaged bytes, from OSError to ZeroDivisionError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        # A part of the image (a GIF's frame, a TIFF's tile) is larger than the whole.
        raise ImageTooLarge(f"a part of the {kind} declares more pixels than are allowed") from err
    except Exception as err:
        raise BadImage(f"the {kind} is truncated or damaged and cannot be decoded") from err
