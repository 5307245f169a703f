"""What a model expects of an image, and what an image may cost.

Both are read by the recipe in the lab and by the handler in the worker, so that neither can hold
a different idea of them. Only the standard library is imported here.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from handlers.section import read_section

if TYPE_CHECKING:
    from collections.abc import Mapping

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Mode = Literal["RGB", "L"]
Decoding = Literal["exact", "fast"]

CHANNELS: dict[Mode, int] = {"RGB": 3, "L": 1}

# A JPEG's blocks are shrunk by averaging: what is left is resized at least by so much.
SHRINK_MARGIN = 2

# Pillow warns of a decompression bomb above so many pixels, and its TIFF and GIF readers check
# this again while they decode. A limit above it would let Pillow's own rule answer for ours.
PILLOW_MAX_PIXELS = 89_478_485


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """How an image becomes a model's input: resize, center-crop, normalize.

    Attributes:
        resize: Length in pixels that the shorter side is scaled to.
        crop: Side in pixels of the square that is cut from the middle; at most ``resize``.
        mean: Per channel, subtracted from values in [0, 1].
        std: Per channel, what the difference is divided by.
        interpolation: Pillow's filter of that name, with antialiasing where it has one.
        mode: ``RGB`` for three channels, ``L`` for one.
        decode: ``exact`` decodes every pixel and resizes as torchvision does, to the bit. ``fast``
            lets a large JPEG be shrunk while it is decoded, to no less than twice ``resize``, and
            resizes by torch's bilinear or bicubic, where one value in hundreds is off by 1.
            Evaluation and serving do the same either way; the export tells how often the two agree.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"
    mode: Mode = "RGB"
    decode: Decoding = "exact"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: A value is out of its range; the message names it.
        """
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))
        _check_choice("mode", self.mode, get_args(Mode))
        _check_choice("decode", self.decode, get_args(Decoding))
        _check_positive_int("resize", self.resize)
        _check_positive_int("crop", self.crop)
        if self.crop > self.resize:
            raise ValueError(f"crop must be at most resize ({self.resize}), got {self.crop}")
        _check_channel_values("mean", self.mean, self.mode)
        _check_channel_values("std", self.std, self.mode)
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive in every channel, got {self.std}")

    @property
    def channels(self) -> int:
        """Number of channels of the model's input."""
        return CHANNELS[self.mode]

    @property
    def shrink_px(self) -> int | None:
        """Shorter side that a JPEG may be shrunk to as it is decoded; None where it may not."""
        return SHRINK_MARGIN * self.resize if self.decode == "fast" else None

    @classmethod
    def from_mapping(cls, section: Mapping[str, Any]) -> ImageSpec:
        """Read the ``image`` section of a recipe or of ``model-config.yaml``.

        Args:
            section: Field names to values.

        Returns:
            The specification.

        Raises:
            ValueError: An unknown or missing key, or a value out of its range.
        """
        return read_section(cls, section, "image")

    def as_dict(self) -> dict[str, Any]:
        """Give what ``from_mapping`` reads, in plain types that YAML and JSON can hold."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused on an image's header, before any of its pixels is decoded.

    Attributes:
        max_pixels: Most pixels, width times height.
        max_aspect_ratio: Longest shape, longer side over shorter: since the shorter side is scaled
            to a fixed length, a small file of 20000x2 pixels would cost gigabytes.
    """

    max_pixels: int = 50_000_000
    max_aspect_ratio: float = 50.0

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: A value is out of its range; the message names it.
        """
        _check_positive_int("max_pixels", self.max_pixels)
        if self.max_pixels > PILLOW_MAX_PIXELS:
            raise ValueError(
                f"max_pixels must be at most {PILLOW_MAX_PIXELS} (Pillow's own limit), "
                f"got {self.max_pixels}"
            )
        if not _is_number(self.max_aspect_ratio) or self.max_aspect_ratio < 1:
            raise ValueError(f"max_aspect_ratio must be at least 1, got {self.max_aspect_ratio!r}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_positive_int(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive whole number of pixels, got {value!r}")


def _check_channel_values(name: str, values: object, mode: Mode) -> None:
    if not isinstance(values, tuple) or not all(_is_number(value) for value in values):
        raise ValueError(f"{name} must be a list of numbers, got {values!r}")
    if len(values) != CHANNELS[mode]:
        raise ValueError(
            f"{name} must have {CHANNELS[mode]} values for mode {mode}, got {len(values)}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
