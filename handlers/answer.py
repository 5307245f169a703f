"""Answers as JSON bytes."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.errors import ImageError

CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of an answer.

    Attributes:
        label: The class's name.
        index: The class's place in the model's output.
        probability: In [0, 1]; over all classes they sum to 1.
    """

    label: str
    index: int
    probability: float


def stock(predictions: Sequence[Prediction]) -> bytes:
    """Give TorchServe's own form: ``{"label": probability, …}``, the likeliest first.

    Where two classes share a name, as ImageNet's two cranes do, the likelier one is shown; the
    detailed form has both.
    """
    by_label: dict[str, float] = {}
    for prediction in predictions:
        by_label.setdefault(prediction.label, prediction.probability)
    return _to_json(by_label)


def detailed(predictions: Sequence[Prediction], model: str, version: str) -> bytes:
    """Give the form that says which model answered, and each class's index."""
    shown = [asdict(prediction) for prediction in predictions]
    return _to_json({"model": model, "version": version, "predictions": shown})


def explanation(prediction: Prediction, model: str, version: str, heatmap: bytes) -> bytes:
    """Give the likeliest class with a PNG of what in the image speaks for it, as base64."""
    drawn = base64.b64encode(heatmap).decode()
    return _to_json({"model": model, "version": version, **asdict(prediction), "heatmap": drawn})


def headers(first: Prediction, version: str) -> dict[str, str]:
    """Give what a gateway's access log wants to know of an answer, as response headers.

    Args:
        first: The likeliest class. A header is ASCII, so its label is percent-encoded.
        version: Of the model.
    """
    return {
        "X-Marina-Version": version,
        "X-Marina-Top1": quote(first.label, safe=""),
        "X-Marina-Confidence": f"{first.probability:.6g}",
    }


def error(problem: ImageError) -> bytes:
    """Give an error in the form of TorchServe's own: ``{"code", "type", "message"}``."""
    return _to_json(problem.body())


def _to_json(value: dict[str, Any]) -> bytes:
    # A NaN from the model is no probability: fail, since JSON has no word for it either.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
