"""Turning an image upright as its EXIF orientation says."""

from __future__ import annotations

from PIL import ExifTags
from PIL.Image import Image, Transpose

# Exif 2.32, table 6: the tag tells where row 0 and column 0 of the stored pixels lie.
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def read_orientation(image: Image) -> Transpose | None:
    """Tell how a loaded image must be turned.

    An EXIF block that cannot be read counts as none, as it does in browsers: the pixels are
    whole, and cameras and editors do write such blocks.

    Args:
        image: A loaded image, as Pillow's reader gave it.

    Returns:
        The turn, or None where the image is upright.
    """
    if image.format == "TIFF":
        # Pillow turns a TIFF while it loads it, and drops the tag. A second orientation in
        # its XMP, as Photoshop writes it, must not turn it again.
        return None
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF raises anything, from struct.error on
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
