"""Whether one run is really better than another, judged on the same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from marina.train.evaluation import evaluate_on

if TYPE_CHECKING:
    from marina.train.evaluation import Evaluation
    from marina.train.run import Run

LEVEL = 0.95


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images.

    Attributes:
        other: The other run's folder.
        images: How many were answered by both.
        accuracy: This run's.
        other_accuracy: The other's.
        only_this_right: Images that only this run answered rightly.
        only_other_right: Images that only the other answered rightly.
        difference: This accuracy less the other's.
        interval: Where the difference lies with 95% confidence (Bonett & Price 2012).
        p_value: McNemar's exact test: how often chance alone would part two equal runs so far.
        same_data: Whether both were trained on the same image folder; if not, the other may have
            seen these images in its training.
    """

    other: str
    images: int
    accuracy: float
    other_accuracy: float
    only_this_right: int
    only_other_right: int
    difference: float
    interval: tuple[float, float]
    p_value: float
    same_data: bool

    @property
    def real(self) -> bool:
        """Whether chance is ruled out at the 5% level."""
        return self.p_value < 1 - LEVEL

    @property
    def verdict(self) -> str:
        """Say it in a sentence."""
        low, high = self.interval
        points = f"{self.difference * 100:+.2f} points [{low * 100:+.2f}, {high * 100:+.2f}]"
        if not self.real:
            said = f"no real difference is shown: {points}, p = {self.p_value:.2g}"
        else:
            better = "better" if self.difference > 0 else "worse"
            said = f"really {better} than {self.other}: {points}, p = {self.p_value:.2g}"
        return said if self.same_data else f"{said}. Beware: {self.other} was trained on other data"

    def as_dict(self) -> dict[str, Any]:
        """Give it as it stands in metrics.json."""
        return {**asdict(self), "real": self.real, "verdict": self.verdict}


def compare(run: Run, evaluation: Evaluation, other: Run, device: str = "cpu") -> Comparison:
    """Have another run answer the images of an evaluation, and hold the two against each other.

    Raises:
        DataError: The other run knows other classes.
    """
    from scipy.stats import binomtest

    theirs = evaluate_on(other, evaluation.split, device)
    ours_right = evaluation.predicted == evaluation.targets
    theirs_right = theirs.predicted == theirs.targets
    gained = int((ours_right & ~theirs_right).sum())
    lost = int((theirs_right & ~ours_right).sum())
    return Comparison(
        other=str(other.folder),
        images=len(ours_right),
        accuracy=evaluation.accuracy,
        other_accuracy=theirs.accuracy,
        only_this_right=gained,
        only_other_right=lost,
        difference=(gained - lost) / len(ours_right),
        interval=paired_interval(gained, lost, len(ours_right)),
        p_value=float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
        same_data=run.metrics["dataset"]["sha256"] == other.metrics["dataset"]["sha256"],
    )


def paired_interval(gained: int, lost: int, images: int) -> tuple[float, float]:
    """Give the 95% interval of a difference of two proportions on the same images.

    Bonett & Price 2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data": one image is added to each of the discordant cells, which
    keeps the coverage where few images differ.
    """
    from scipy.stats import norm

    p, q = (gained + 1) / (images + 2), (lost + 1) / (images + 2)
    half = norm.ppf((1 + LEVEL) / 2) * ((p + q - (p - q) ** 2) / (images + 2)) ** 0.5
    return max(-1.0, float(p - q - half)), min(1.0, float(p - q + half))
