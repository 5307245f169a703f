"""A Pillow image's own memory as a tensor, without a copy.

Pillow gives it away by the Arrow C data interface (https://arrow.apache.org/docs/format/
CDataInterface.html), of which this reads what one image takes: a list of numbers, or of pixels of
four numbers each.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

_SAMPLES = {"L": 1, "RGB": 4}  # of a pixel in memory: RGB has one more, of no meaning


class _Array(ctypes.Structure):
    """``struct ArrowArray``, up to its last field that is read here."""


_Array._fields_ = (
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
)

_pointer_in = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_in.restype, _pointer_in.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


@contextmanager
def shared(image: Image) -> Iterator[torch.Tensor | None]:
    """Give an image's memory, for as long as the block runs; it may not be written to.

    Args:
        image: Of mode ``L`` or ``RGB``.

    Yields:
        Shape (H, W, S), uint8, with S = 1 for ``L`` and 4 for ``RGB``, whose fourth sample has no
        meaning. None where the image lies in several pieces, as those of more than 16 MB do, or is
        empty.
    """
    try:
        _, capsule = image.__arrow_c_array__()
    except (ValueError, AttributeError):  # it is in pieces or empty; Pillow is older than 11.2
        yield None
        return
    samples = _SAMPLES[image.mode]
    array = ctypes.cast(_pointer_in(capsule, b"arrow_array"), ctypes.POINTER(_Array)).contents
    values = array.children[0].contents if array.n_children else array
    count = image.width * image.height * samples
    memory = (ctypes.c_uint8 * count).from_address(values.buffers[1])
    yield torch.frombuffer(memory, dtype=torch.uint8).view(image.height, image.width, samples)
    del capsule  # it kept the memory
