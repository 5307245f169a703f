"""All runs below a folder, and what differs between some of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from marina.errors import TrainError
from marina.train.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class RunSummary:
    """A line of the list; what an unfinished run cannot tell is None.

    Attributes:
        run: The folder.
        finished: When, in UTC, as ISO 8601.
        epochs: How many were trained.
        best_epoch: The one whose weights were kept: the last of those with the highest
            validation accuracy.
        val_accuracy: Its validation accuracy.
        test_accuracy: Of its weights; None where the test images have no labels, too.
        images_per_s: Mean training throughput over the epochs.
        seconds: Wall time of the whole training.
    """

    run: str
    finished: str | None
    epochs: int | None
    best_epoch: int | None
    val_accuracy: float | None
    test_accuracy: float | None
    images_per_s: float | None
    seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina runs list --json`` prints it."""
        return asdict(self)


def list_runs(root: Path) -> list[RunSummary]:
    """Summarize every run below a folder, the finished ones and the others, by path.

    Raises:
        TrainError: There is none.
    """
    found = sorted({file.parent for file in root.glob("**/recipe.yaml")})
    if not found:
        raise TrainError(f"no run below {root}: `marina train models/resnet.yaml` makes one")
    return [summarize(Run(folder)) for folder in found]


def summarize(run: Run) -> RunSummary:
    """Summarize one run."""
    metrics = run.metrics if (run.folder / "metrics.json").is_file() else {}
    epochs = metrics.get("epochs") or []
    best = max(epochs, key=lambda epoch: (epoch["val_accuracy"], epoch["epoch"]), default=None)
    test = metrics.get("test")
    speeds = [epoch["images_per_s"] for epoch in epochs]
    return RunSummary(
        run=str(run.folder),
        finished=metrics.get("finished"),
        epochs=len(epochs) if metrics else None,
        best_epoch=best["epoch"] if best else None,
        val_accuracy=best["val_accuracy"] if best else None,
        test_accuracy=test["accuracy"] if test else None,
        images_per_s=sum(speeds) / len(speeds) if speeds else None,
        seconds=metrics.get("seconds"),
    )


@dataclass(frozen=True)
class RunComparison:
    """Some runs beside each other.

    Attributes:
        results: A summary a run.
        differences: What is not the same in recipe, data and environment: dotted keys to one
            value a run, None where a run lacks the key.
        curves: The epochs of each run, as they stand in metrics.json.
    """

    results: tuple[RunSummary, ...]
    differences: dict[str, list[Any]]
    curves: dict[str, list[dict[str, float]]]

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina runs compare --json`` prints it."""
        return {
            "results": [result.as_dict() for result in self.results],
            "differences": self.differences,
        }


def compare_runs(runs: Sequence[Run]) -> RunComparison:
    """Tell what differs between finished runs, in what made them and in what came of it."""
    return RunComparison(
        results=tuple(summarize(run) for run in runs),
        differences=differences([_origin(run) for run in runs]),
        curves={str(run.folder): run.metrics["epochs"] for run in runs},
    )


def differences(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Give the dotted keys whose values are not the same in all of some nested mappings."""
    flat = [_flatten(each) for each in settings]
    keys = dict.fromkeys(key for each in flat for key in each)  # in order, each once
    values = {key: [each.get(key) for each in flat] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def _origin(run: Run) -> dict[str, Any]:
    return {
        **run.recipe.model_dump(mode="json"),
        "dataset_sha256": run.metrics["dataset"]["sha256"],
        "environment": run.metrics["environment"],
    }


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        flat |= _flatten(value, f"{path}.") if isinstance(value, dict) and value else {path: value}
    return flat
