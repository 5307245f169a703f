"""What an evaluation found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from marina.display.console import output

if TYPE_CHECKING:
    from marina.evaluation.report import Report

SHOWN = 20


def evaluation(report: Report) -> None:
    """Show the classes, the worst mistakes and the scores."""
    scores = report.scores
    output.print(_classes(report))
    if report.mistakes:
        output.print(_mistakes(report))
    images = len(report.evaluation.split.files)
    right = int(scores.confusion.trace())
    low, high = scores.interval
    top5 = "" if scores.top5_accuracy is None else f"; top-5 {scores.top5_accuracy:.2%}"
    output.print(
        f"accuracy {scores.accuracy:.2%}: {right} of {images} right "
        f"(95% interval {low:.2%} to {high:.2%}){top5}; macro F1 {scores.macro_f1:.4f}",
        soft_wrap=True,
    )
    output.print(_calibration(report))
    speed = report.evaluation.throughput
    output.print(
        f"{speed.images_per_s:.0f} images/s from files, {speed.network_images_per_s:.0f} images/s "
        f"the network alone, on {speed.device} with {speed.threads} threads",
        soft_wrap=True,
    )
    if report.comparison:
        output.print(f"[bold]{escape(report.comparison.verdict)}", soft_wrap=True)


def _classes(report: Report) -> Table:
    """Give the classes that were told apart worst, in the order of the labels."""
    classes = report.scores.classes
    worst = sorted(classes, key=lambda entry: entry.f1)[:SHOWN]
    title = "Classes" if len(worst) == len(classes) else f"The {SHOWN} worst of {len(classes)}"
    table = Table("class", "images", "precision", "recall", "F1", title=title)
    for entry in classes:
        if entry in worst:
            figures = (f"{value:.4f}" for value in (entry.precision, entry.recall, entry.f1))
            table.add_row(escape(entry.label), str(entry.images), *figures)
    return table


def _mistakes(report: Report) -> Table:
    table = Table("file", "truth", "predicted", "probability", title="Mistakes")
    for mistake in report.mistakes[:SHOWN]:
        names = (escape(text) for text in (mistake.file, mistake.truth, mistake.predicted))
        table.add_row(*names, f"{mistake.probability:.1%}")
    return table


def _calibration(report: Report) -> str:
    said = f"calibration error {report.uncalibrated.ece:.4f}"
    if report.calibrated:
        after = report.calibrated
        said += f", {after.ece:.4f} at the fitted temperature {after.temperature:.4g}"
    return said
