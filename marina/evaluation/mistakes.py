"""The worst mistakes: the images that were taken for another class with the most confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from marina.train.evaluation import Evaluation


@dataclass(frozen=True)
class Mistake:
    """An image that was taken for another class.

    Attributes:
        path: Where it is.
        file: The same, below the image folder.
        truth: The name of its class.
        predicted: The name of the class that it was taken for.
        probability: With what probability.
        truth_probability: What was left for the truth.
    """

    path: Path
    file: str
    truth: str
    predicted: str
    probability: float
    truth_probability: float

    def as_dict(self) -> dict[str, Any]:
        """Give it as it stands in metrics.json."""
        return {
            "file": self.file,
            "truth": self.truth,
            "predicted": self.predicted,
            "probability": self.probability,
            "truth_probability": self.truth_probability,
        }


def worst_mistakes(evaluation: Evaluation, most: int = 24) -> list[Mistake]:
    """Give the mistakes, the most confident first."""
    split, probabilities = evaluation.split, evaluation.probabilities
    confidence, predicted = probabilities.max(dim=1)  # (images,) each
    wrong = (predicted != evaluation.targets).nonzero()[:, 0]
    worst = wrong[confidence[wrong].argsort(descending=True)][:most].tolist()
    return [
        Mistake(
            path=split.files[i],
            file=split.relative(i),
            truth=split.labels[split.targets[i]],
            predicted=split.labels[int(predicted[i])],
            probability=float(confidence[i]),
            truth_probability=float(probabilities[i, split.targets[i]]),
        )
        for i in worst
    ]
