"""The names of the formats, apart from their writers, so that the command starts without torch."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What `marina export` can write."""

    torchscript = "torchscript"
    state_dict = "state-dict"
    onnx = "onnx"
    pt2 = "pt2"
