"""The report of an evaluation: ``runs/<name>/<run>/evaluation/<split>/``.

=================  ===========================================================
metrics.json       every figure
report.html        all of it in one file that needs no other
confusion.png      truth by prediction
reliability.png    accuracy over confidence
curves.png         loss, validation accuracy and learning rate over the epochs, if any
mistakes.png       the worst mistakes; absent where there are none
=================  ===========================================================
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marina.evaluation.calibration import Calibration, calibration
from marina.evaluation.mistakes import Mistake, worst_mistakes
from marina.evaluation.scores import Scores, score
from marina.files import sha256_file, whole_folder
from marina.train.run import environment

if TYPE_CHECKING:
    from marina.evaluation.comparison import Comparison
    from marina.train.evaluation import Evaluation
    from marina.train.run import Run


@dataclass(frozen=True)
class Report:
    """All that an evaluation found.

    Attributes:
        run: The run.
        name: The split, such as ``test``.
        evaluation: The answers.
        scores: How many are right.
        uncalibrated: The calibration at temperature 1.
        calibrated: The calibration at the run's temperature; None where none was fitted.
        mistakes: The worst ones.
        comparison: Against another run, if one was named.
    """

    run: Run
    name: str
    evaluation: Evaluation
    scores: Scores
    uncalibrated: Calibration
    calibrated: Calibration | None
    mistakes: list[Mistake]
    comparison: Comparison | None

    @property
    def folder(self) -> Path:
        """Where the report is."""
        return self.run.folder / "evaluation" / self.name

    def as_dict(self) -> dict[str, Any]:
        """Give it as it stands in metrics.json."""
        return {
            "run": str(self.run.folder),
            "split": self.name,
            "images": len(self.evaluation.split.files),
            **self.scores.as_dict(),
            "calibration": (self.calibrated or self.uncalibrated).as_dict(),
            "uncalibrated": {"ece": self.uncalibrated.ece, "nll": self.uncalibrated.nll},
            "throughput": asdict(self.evaluation.throughput),
            "mistakes": [mistake.as_dict() for mistake in self.mistakes],
            "comparison": self.comparison.as_dict() if self.comparison else None,
            "checkpoint_sha256": sha256_file(self.run.checkpoint),
            "environment": environment(),
        }


def make_report(
    run: Run, name: str, evaluation: Evaluation, comparison: Comparison | None = None
) -> Report:
    """Work out all figures of an evaluation."""
    calibrated = calibration(evaluation) if evaluation.temperature != 1 else None
    return Report(
        run=run,
        name=name,
        evaluation=evaluation,
        scores=score(evaluation),
        uncalibrated=calibration(evaluation, temperature=1.0),
        calibrated=calibrated,
        mistakes=worst_mistakes(evaluation),
        comparison=comparison,
    )


def write_report(report: Report) -> Path:
    """Write the report's folder, whole, in the place of an older one.

    Returns:
        The HTML file.
    """
    from marina.evaluation import plots

    with whole_folder(report.folder) as folder:
        (folder / "metrics.json").write_text(
            json.dumps(report.as_dict(), indent=2, ensure_ascii=False)
        )
        plots.confusion_matrix(report.scores, folder / "confusion.png")
        plots.reliability_diagram(
            report.uncalibrated, report.calibrated, folder / "reliability.png"
        )
        if epochs := report.run.metrics["epochs"]:
            plots.learning_curves({report.run.folder.name: epochs}, folder / "curves.png")
        if report.mistakes:
            plots.gallery(report.mistakes, folder / "mistakes.png")
        (folder / "report.html").write_text(_html(report, folder))
    return report.folder / "report.html"


def _html(report: Report, folder: Path) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pictures = {
        file.stem: "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
        for file in folder.glob("*.png")
    }
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return jinja.get_template("report.html.j2").render(
        report=report,
        figures=report.as_dict(),
        pictures=pictures,
        recipe=report.run.recipe.as_yaml(),
    )
