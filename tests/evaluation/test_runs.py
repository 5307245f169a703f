from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from marina.cli import app
from marina.errors import TrainError
from marina.evaluation.runs import differences, list_runs
from marina.recipe import read_recipe
from marina.train.run import Run

RECIPE = Path(__file__).parents[2] / "models" / "resnet.yaml"


def make_run(folder: Path, accuracies: list[float], *overrides: str) -> Run:
    run = Run.create(read_recipe(RECIPE, overrides), tuple("0123456789"), folder)
    epochs: list[dict[str, Any]] = [
        {
            "epoch": i,
            "train_loss": 1 / i,
            "val_accuracy": value,
            "lr": 0.1,
            "images_per_s": 100.0 * i,
        }
        for i, value in enumerate(accuracies, start=1)
    ]
    run.save_metrics(
        {
            "epochs": epochs,
            "test": {"accuracy": accuracies[-1], "images": 359},
            "dataset": {"sha256": "0" * 64},
            "environment": {"torch": "2.15.0"},
            "finished": "2026-01-01T00:00:00+00:00",
            "seconds": 30.0,
        }
    )
    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path / "resnet" / "a", [0.5, 0.9, 0.9, 0.8])
    make_run(tmp_path / "resnet" / "b", [0.7, 0.95], "train.lr=0.01", "train.optimizer=adamw")
    Run.create(read_recipe(RECIPE), tuple("0123456789"), tmp_path / "resnet" / "c")
    return tmp_path


def test_the_list_has_every_run_with_its_best_epoch(root: Path) -> None:
    a, b, c = list_runs(root)
    assert [Path(entry.run).name for entry in (a, b, c)] == ["a", "b", "c"]
    assert (a.best_epoch, a.val_accuracy, a.test_accuracy) == (3, 0.9, 0.8)
    assert (a.images_per_s, a.epochs, b.epochs) == (250.0, 4, 2)
    assert (c.finished, c.epochs, c.val_accuracy) == (None, None, None)


def test_no_runs_at_all_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"no run below .*marina train"):
        list_runs(tmp_path)


def test_the_command_lists_with_and_without_its_verb(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    root.rename(root.parent / "runs")
    shown = CliRunner().invoke(app, ["runs"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    assert "90.00%" in shown.stdout
    assert "not finished" in shown.stdout
    listed = CliRunner().invoke(app, ["runs", "list", "runs/resnet", "--json"])
    assert [entry["best_epoch"] for entry in json.loads(listed.stdout)] == [3, 2, None]


def test_a_comparison_names_what_differs_and_draws_it(root: Path) -> None:
    folders = [str(root / "resnet" / name) for name in "ab"]
    plot = root / "plots" / "curves.png"
    done = CliRunner().invoke(app, ["runs", "compare", *folders, "--json", "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["differences"] == {"train.optimizer": ["sgd", "adamw"], "train.lr": [0.05, 0.01]}
    assert [entry["test_accuracy"] for entry in said["results"]] == [0.8, 0.95]
    with Image.open(plot) as image:
        assert image.format == "PNG"
        assert image.width > 1000
    shown = CliRunner().invoke(app, ["runs", "compare", *folders], env={"COLUMNS": "200"})
    assert "train.optimizer" in shown.stdout
    assert "adamw" in shown.stdout


def test_one_run_is_nothing_to_compare(root: Path) -> None:
    done = CliRunner().invoke(app, ["runs", "compare", str(root / "resnet" / "a")])
    assert isinstance(done.exception, TrainError)


def test_differences_are_by_dotted_key() -> None:
    first = {"a": 1, "b": {"c": 2, "d": [1]}, "e": {}}
    second = {"a": 1, "b": {"c": 3}, "e": {}, "f": None}
    assert differences([first, second]) == {"b.c": [2, 3], "b.d": [[1], None]}
