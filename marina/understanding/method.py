"""The names of the methods, apart from their code, so that the command starts without torch."""

from __future__ import annotations

from enum import StrEnum


class Method(StrEnum):
    """How an answer is explained."""

    grad_cam = "grad-cam"
    integrated_gradients = "integrated-gradients"
    feature_maps = "feature-maps"
