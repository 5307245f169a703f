"""From any pixel mode to gray or RGB of 8 bits, with transparent parts over white."""

from __future__ import annotations

from PIL import Image, ImageMath

from handlers.errors import UnsupportedImage

WHITE = 255
SIXTEEN_TO_EIGHT_BITS = 1 / 257  # 65535 / 255

_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_OPAQUE_COLOUR = frozenset({"P", "RGBX", "CMYK", "YCbCr"})


def flatten(image: Image.Image) -> Image.Image:
    """Give an image as gray or RGB without transparency.

    Args:
        image: A loaded image of any of Pillow's modes.

    Returns:
        An image of mode ``L`` where it was gray, else ``RGB``; 8 bits a channel. Samples of
        16 bits are divided by 257 and rounded, where Pillow keeps them (gray); in colour its
        readers keep the high byte, at most 1 less.

    Raises:
        UnsupportedImage: Pixels of 32 bits or in a colour space that has no agreed way to 8 bits.
    """
    if image.mode in _SIXTEEN_BIT:
        return _flatten_sixteen_bit(image)
    if image.has_transparency_data:
        return _over_white(image)
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in _OPAQUE_COLOUR:
        return image.convert("RGB")
    raise UnsupportedImage(
        f"expected pixels of 1, 8 or 16 bits in gray, RGB, CMYK or a palette, got Pillow's mode "
        f"{image.mode}: scale them to 8 bits first"
    )


def _over_white(image: Image.Image) -> Image.Image:
    gray = image.mode in ("1", "L", "LA", "La")
    layer = image.convert("LA" if gray else "RGBA")
    alpha = layer.getchannel("A")
    background = Image.new("L" if gray else "RGB", image.size, "white")
    background.paste(layer.getchannel("L") if gray else layer, mask=alpha)
    return background


def _flatten_sixteen_bit(image: Image.Image) -> Image.Image:
    wide = image.convert("I")
    flat = wide.point(lambda value: value * SIXTEEN_TO_EIGHT_BITS + 0.5).convert("L")
    key = image.info.get("transparency")
    if key is not None:
        transparent = ImageMath.lambda_eval(
            lambda env: env["convert"]((env["wide"] == key) * WHITE, "L"), wide=wide
        )
        flat.paste(WHITE, mask=transparent)
    return flat
