"""Calibration: whether what is said with 90% confidence is right nine times in ten.

Guo et al. 2017, "On Calibration of Modern Neural Networks": the expected calibration error over
equal bins of confidence, and one temperature that mends most of it without changing any top-1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from marina.train.evaluation import evaluate

if TYPE_CHECKING:
    from marina.train.evaluation import Evaluation
    from marina.train.run import Run

BINS = 15
# A temperature outside of these is no calibration but a network that learned nothing.
_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Bin:
    """The images answered with a confidence above ``low`` and up to ``high``.

    Attributes:
        low: Lower edge.
        high: Upper edge.
        images: How many there are.
        confidence: Their mean confidence; 0 if there are none.
        accuracy: The share that is right; 0 if there are none.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy are apart.

    Attributes:
        ece: Expected calibration error: the mean gap, weighted by the images of each bin.
        nll: Mean negative log-likelihood of the truth, in nats.
        temperature: The temperature in force.
        bins: From the lowest confidence to the highest.
    """

    ece: float
    nll: float
    temperature: float
    bins: tuple[Bin, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give it as it stands in metrics.json."""
        return asdict(self)


def calibration(evaluation: Evaluation, temperature: float | None = None) -> Calibration:
    """Measure the calibration at the evaluation's temperature, or at another one."""
    temperature = evaluation.temperature if temperature is None else temperature
    logits = evaluation.logits / temperature
    confidence, predicted = logits.softmax(dim=1).max(dim=1)  # (images,) each
    right = (predicted == evaluation.targets).float()
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # (images,)
    bins = tuple(
        _bin(index, confidence[place == index], right[place == index]) for index in range(BINS)
    )
    return Calibration(
        ece=sum(b.images * abs(b.confidence - b.accuracy) for b in bins) / len(right),
        nll=float(cross_entropy(logits, evaluation.targets)),
        temperature=temperature,
        bins=bins,
    )


def _bin(index: int, confidence: torch.Tensor, right: torch.Tensor) -> Bin:
    count = len(confidence)
    return Bin(
        low=index / BINS,
        high=(index + 1) / BINS,
        images=count,
        confidence=float(confidence.mean()) if count else 0.0,
        accuracy=float(right.mean()) if count else 0.0,
    )


def calibrate(run: Run, device: str = "cpu") -> float:
    """Fit a temperature on the run's validation images and keep it in the run.

    From then on evaluation uses it, and the next export and archive carry it.

    Raises:
        DataError: There are no labelled validation images.
    """
    held_out = evaluate(run, "val", device)
    temperature = fit_temperature(held_out.logits, held_out.targets)
    run.save_temperature(temperature)
    return temperature


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Give the temperature that makes the truth likeliest.

    Args:
        logits: Shape (images, classes).
        targets: Class indices (images,).
    """
    from scipy.optimize import minimize_scalar

    def nll(log_temperature: float) -> float:
        return float(cross_entropy(logits.double() / math.exp(log_temperature), targets))

    bounds = (math.log(_LOWEST), math.log(_HIGHEST))
    return math.exp(minimize_scalar(nll, bounds=bounds, method="bounded").x)
