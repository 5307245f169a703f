"""The scores of an evaluation: accuracy, per class precision, recall and F1, confusions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from marina.train.evaluation import Evaluation

TOP_K = 5


@dataclass(frozen=True)
class ClassScore:
    """How one class was told from the others.

    Attributes:
        label: Its name.
        images: How many there are of it.
        precision: Share of the images that were taken for it and are of it; 0 if none was.
        recall: Share of its images that were taken for it; 0 if there are none.
        f1: Harmonic mean of both.
    """

    label: str
    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Scores:
    """The scores over all images.

    Attributes:
        accuracy: Share of the images whose top-1 is right.
        interval: Where the accuracy lies with 95% confidence (Wilson 1927).
        top5_accuracy: Share with the truth among the first five; None with five classes or fewer.
        macro_f1: Mean F1 over the classes.
        classes: In the order of the labels.
        confusion: Images by truth (rows) and predicted class (columns), int64.
    """

    accuracy: float
    interval: tuple[float, float]
    top5_accuracy: float | None
    macro_f1: float
    classes: tuple[ClassScore, ...]
    confusion: torch.Tensor

    def as_dict(self) -> dict[str, Any]:
        """Give the scores as they stand in metrics.json."""
        return {
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.interval),
            "top5_accuracy": self.top5_accuracy,
            "macro_f1": self.macro_f1,
            "classes": [asdict(entry) for entry in self.classes],
            "confusion_matrix": self.confusion.tolist(),
        }


def score(evaluation: Evaluation) -> Scores:
    """Score the answers to labelled images."""
    from scipy.stats import binomtest
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_confusion_matrix,
    )

    labels, targets = evaluation.split.labels, evaluation.targets
    right = int((evaluation.predicted == targets).sum())
    low, high = binomtest(right, len(targets)).proportion_ci(method="wilson")
    top5 = None
    if len(labels) > TOP_K:
        top5 = float(
            multiclass_accuracy(
                evaluation.logits, targets, len(labels), average="micro", top_k=TOP_K
            )
        )
    classes = _per_class(evaluation)
    return Scores(
        accuracy=evaluation.accuracy,
        interval=(float(low), float(high)),
        top5_accuracy=top5,
        macro_f1=sum(entry.f1 for entry in classes) / len(classes),
        classes=classes,
        confusion=multiclass_confusion_matrix(evaluation.predicted, targets, len(labels)),
    )


def _per_class(evaluation: Evaluation) -> tuple[ClassScore, ...]:
    from torchmetrics.functional.classification import (
        multiclass_f1_score,
        multiclass_precision,
        multiclass_recall,
    )

    labels, targets = evaluation.split.labels, evaluation.targets
    columns = (
        function(evaluation.predicted, targets, len(labels), average="none").tolist()
        for function in (multiclass_precision, multiclass_recall, multiclass_f1_score)
    )
    images = torch.bincount(targets, minlength=len(labels)).tolist()
    return tuple(
        ClassScore(label, *row) for label, *row in zip(labels, images, *columns, strict=True)
    )
