"""Plots as PNG files. None of them needs a display, or changes matplotlib's global state."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from marina.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from marina.evaluation.calibration import Calibration
    from marina.evaluation.mistakes import Mistake
    from marina.evaluation.scores import Scores

MOST_NAMED = 40  # more classes than these have no room for their names
MOST_COUNTED = 15
GALLERY_COLUMNS = 6


def confusion_matrix(scores: Scores, file: Path) -> None:
    """Draw truth by prediction, each row as shares of its class, with counts where they fit."""
    labels = [entry.label for entry in scores.classes]
    counts = scores.confusion
    shares = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)  # (classes, classes)
    side = min(12.0, 3.0 + 0.35 * len(labels))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(picture, ax=axes, format=PercentFormatter(1), label="share of the true class")
    axes.set(xlabel="predicted", ylabel="truth", title=f"accuracy {scores.accuracy:.2%}")
    if len(labels) <= MOST_NAMED:
        axes.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 12 else 45)
        axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= MOST_COUNTED:
        for row, column in counts.nonzero().tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = str(int(counts[row, column]))
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    save(figure, file)


def reliability_diagram(before: Calibration, after: Calibration | None, file: Path) -> None:
    """Draw accuracy over confidence, and how many images have each confidence.

    Args:
        before: Without a temperature.
        after: With the fitted one; None if there is none.
        file: The PNG.
    """
    shown = {"as trained": before}
    if after is not None:
        shown[f"temperature {after.temperature:.3g}"] = after
    figure = Figure(figsize=(4.5 * len(shown), 5.5), layout="constrained")
    grid = figure.subplots(2, len(shown), squeeze=False, sharex=True, height_ratios=(3, 1))
    for column, (title, calibration) in enumerate(shown.items()):
        _reliability(grid[0, column], grid[1, column], calibration)
        grid[0, column].set_title(f"{title}: ECE {calibration.ece:.3f}, NLL {calibration.nll:.3f}")
    save(figure, file)


def _reliability(axes: Axes, counts: Axes, calibration: Calibration) -> None:
    filled = [entry for entry in calibration.bins if entry.images]
    middles = [(entry.low + entry.high) / 2 for entry in filled]
    width = calibration.bins[0].high - calibration.bins[0].low
    axes.bar(middles, [entry.accuracy for entry in filled], width, edgecolor="white", label="found")
    axes.plot([0, 1], [0, 1], "--", color="black", label="perfect")
    axes.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1))
    axes.legend(loc="upper left")
    counts.bar(middles, [entry.images for entry in filled], width, edgecolor="white")
    counts.set(xlabel="confidence", ylabel="images", yscale="log")


def gallery(mistakes: Sequence[Mistake], file: Path) -> None:
    """Draw mistaken images with truth, prediction and its probability."""
    from PIL import Image, ImageOps

    columns = min(GALLERY_COLUMNS, len(mistakes))
    rows = -(-len(mistakes) // columns)
    figure = Figure(figsize=(2.1 * columns, 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid:
        axes.axis("off")
    for axes, mistake in zip(grid, mistakes, strict=False):
        with Image.open(mistake.path) as image:
            image.draft("RGB", (320, 320))
            picture = ImageOps.exif_transpose(image).convert("RGB")
        picture.thumbnail((320, 320))
        axes.imshow(picture, interpolation="nearest")
        title = f"{mistake.truth} → {mistake.predicted}\n{mistake.probability:.1%}"
        axes.set_title(title, fontsize=9, parse_math=False)
    save(figure, file)


def learning_curves(runs: Mapping[str, Sequence[Mapping[str, float]]], file: Path) -> None:
    """Draw loss, validation accuracy and learning rate over the epochs of some runs.

    Args:
        runs: The epochs of each run, as they stand in metrics.json, by the run's name.
        file: The PNG.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = {"train_loss": "training loss", "val_accuracy": "validation accuracy", "lr": "lr"}
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for name, epochs in runs.items():
            numbers = [epoch["epoch"] for epoch in epochs]
            axes.plot(numbers, [epoch[key] for epoch in epochs], marker=".", label=name)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    panels[1].yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].legend(fontsize=8)
    save(figure, file)


def save(figure: Figure, file: Path) -> None:
    """Write a figure as a PNG, whole."""
    with whole_file(file) as temporary, warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes; the report has it as text.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(temporary, format="png", dpi=110)
