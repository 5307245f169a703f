"""The handler's own section of ``model-config.yaml``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from handlers.backend import BACKENDS, SUPPORTED, Backend, unsupported
from handlers.image_spec import ImageLimits
from handlers.options import AnswerFormat, Options
from handlers.precision import PRECISIONS, Precision
from handlers.section import read_section

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model answers, and what it refuses.

    Attributes:
        top_k: Classes in an answer that asks for no number.
        format: Form of an answer that asks for none.
        temperature: What logits are divided by before they become probabilities.
        threads: Of this worker; None shares the cores out among the workers.
        precision: In what numbers the model computes; it was exported so.
        backend: Which library computes it; it was exported for that one.
        fusion: Whether oneDNN Graph fuses the model's operations on a CPU; the export tried it.
        winograd: Whether a CPU computes 3x3 convolutions by Winograd's algorithm, in workers of one
            thread; the export tried it, too.
        spread: Whether an image that comes alone is computed on all cores, see ``handlers.spread``.
        gpu_decode: Whether a GPU decodes JPEGs, in the fast mode.
        graphs: Whether a GPU replays recorded graphs.
        explanations: Whether ``/explanations`` is answered; one costs fifty predictions.
        max_pixels: See ``ImageLimits``.
        max_aspect_ratio: See ``ImageLimits``.
    """

    top_k: int = 5
    format: AnswerFormat = "stock"
    temperature: float = 1.0
    threads: int | None = None
    precision: Precision = "fp32"
    backend: Backend = "torchscript"
    fusion: bool = True
    winograd: bool = False
    spread: bool = False
    gpu_decode: bool = True
    graphs: bool = True
    explanations: bool = False
    max_pixels: int = _DEFAULT_LIMITS.max_pixels
    max_aspect_ratio: float = _DEFAULT_LIMITS.max_aspect_ratio

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: A value is out of its range; the message names it.
        """
        if not isinstance(self.top_k, int) or isinstance(self.top_k, bool) or self.top_k < 1:
            raise ValueError(f"top_k must be a whole number of at least 1, got {self.top_k!r}")
        if self.threads is not None and not (isinstance(self.threads, int) and self.threads >= 1):
            raise ValueError(f"threads must be a whole number of at least 1, got {self.threads!r}")
        if self.format not in get_args(AnswerFormat):
            raise ValueError(f"format must be stock or detailed, got {self.format!r}")
        if not isinstance(self.temperature, int | float) or not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a positive number, got {self.temperature!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
        if self.backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.precision not in SUPPORTED[self.backend]:
            raise ValueError(unsupported(self.backend, self.precision))
        for name in ("fusion", "winograd", "spread", "gpu_decode", "graphs", "explanations"):
            if getattr(self, name) not in (True, False):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        _ = self.limits

    @classmethod
    def from_mapping(cls, section: Mapping[str, Any]) -> Settings:
        """Read the ``handler`` section.

        Args:
            section: Field names to values.

        Returns:
            The settings.

        Raises:
            ValueError: An unknown key, or a value out of its range.
        """
        return read_section(cls, section, "handler")

    @property
    def options(self) -> Options:
        """What holds for a request that chooses nothing."""
        return Options(self.format, self.top_k)

    @property
    def limits(self) -> ImageLimits:
        """What is refused on an image's header.

        Raises:
            ValueError: A limit is out of its range.
        """
        return ImageLimits(self.max_pixels, self.max_aspect_ratio)
