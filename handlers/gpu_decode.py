"""JPEGs decoded and resized on a GPU, many at once, by nvJPEG through torchvision.

A GPU's decoder and resize round otherwise than Pillow's, so this belongs to the fast mode. What
nvJPEG does not do as Pillow does (other formats, CMYK, EXIF rotation, cut-off files) is left to
the CPU, image by image.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from handlers.decode import open_image
from handlers.errors import ImageError
from handlers.formats import sniff
from handlers.orientation import read_orientation
from handlers.preprocess import corner, resized

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from handlers.image_spec import ImageLimits, ImageSpec

# What torch can do with antialiasing.
INTERPOLATIONS = frozenset({"bilinear", "bicubic"})
PLAIN_MODES = frozenset({"L", "RGB"})
END_OF_IMAGE = b"\xff\xd9"  # ITU-T T.81, table B.1
_END_BYTES = 64  # some cameras write a few zeros behind it


def suits(data: bytes, limits: ImageLimits) -> bool:
    """Tell whether nvJPEG decodes a file to what Pillow makes of it, but for rounding.

    Args:
        data: The whole file; of one that is not served, the CPU will say why.
        limits: Checked on the header.
    """
    try:
        if sniff(data) != "JPEG":
            return False
        image = open_image(data, limits)
    except ImageError:
        return False
    return (
        image.mode in PLAIN_MODES
        and END_OF_IMAGE in data[-_END_BYTES:]
        and read_orientation(image) is None
    )


class GpuDecoder:
    """Decodes, resizes and crops JPEGs on a device.

    Args:
        spec: What the model expects.
        device: A GPU; torchvision can do the same on a CPU, for tests.
    """

    def __init__(self, spec: ImageSpec, device: torch.device) -> None:
        self._spec = spec
        self._device = device
        self._decode = _torchvision_decoder(spec, device)

    def load(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        """Decode, resize and crop.

        Args:
            files: JPEGs that `suits` said yes to.

        Returns:
            Of each, shape (C, crop, crop), uint8, on the device.

        Raises:
            RuntimeError: One of them cannot be decoded; none is told from the others.
        """
        encoded = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
        return [self._cut(image) for image in self._decode(encoded)]

    def _cut(self, image: torch.Tensor) -> torch.Tensor:
        """Resize (C, H, W) to (C, crop, crop)."""
        spec = self._spec
        width, height = resized((image.shape[2], image.shape[1]), spec.resize)
        left, top = corner((width, height), spec.crop)
        if (height, width) != image.shape[1:]:
            scaled = functional.interpolate(
                image[None].float(), (height, width), mode=spec.interpolation, antialias=True
            )  # (1, C, H, W)
            image = scaled[0].round_().clamp_(0, 255).to(torch.uint8)
        return image[:, top : top + spec.crop, left : left + spec.crop]


def _torchvision_decoder(
    spec: ImageSpec, device: torch.device
) -> Callable[[list[torch.Tensor]], list[torch.Tensor]]:
    # torchvision costs a worker's start seconds: only those who decode on a GPU pay for it.
    from torchvision.io import ImageReadMode, decode_jpeg

    mode = ImageReadMode.RGB if spec.mode == "RGB" else ImageReadMode.GRAY

    def decode(encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        with warnings.catch_warnings():
            # torchvision announces torchcodec, whose decoder of lists for GPUs is to come; the
            # server would log it for each batch.
            warnings.simplefilter("ignore", DeprecationWarning)
            images: list[torch.Tensor] = decode_jpeg(encoded, mode=mode, device=device)
        return images

    return decode
