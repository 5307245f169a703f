from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_loop import figures

from handlers.preprocess import load_pixels
from marina.errors import TrainError
from marina.recipe import Recipe
from marina.train.dataset import ImageDataset, read_split
from marina.train.evaluation import evaluate
from marina.train.run import Run
from marina.train.training import train


def test_a_run_holds_what_the_contract_names(quick_run: Run, quick_recipe: Recipe) -> None:
    names = {path.name for path in quick_run.folder.iterdir()}
    assert names >= {"checkpoint.pt", "metrics.json", "labels.json", "recipe.yaml"}
    assert quick_run.recipe == quick_recipe
    assert quick_run.labels == tuple("0123456789")
    checkpoint = torch.load(quick_run.checkpoint, weights_only=True)
    assert set(checkpoint) == {"model", "epoch"}
    assert len(quick_run.metrics["epochs"]) == 1


def test_evaluation_reads_the_images_as_the_server_does(quick_recipe: Recipe) -> None:
    split = read_split(quick_recipe.data, "test")
    dataset = ImageDataset(split, quick_recipe.image, quick_recipe.serve.limits)
    for index in range(0, len(dataset), 40):
        served = load_pixels(
            split.files[index].read_bytes(), quick_recipe.image, quick_recipe.serve.limits
        )
        assert torch.equal(dataset[index][0], served)


def test_the_accuracy_is_that_of_the_rows(quick_run: Run) -> None:
    result = evaluate(quick_run).as_dict()
    right = [row["truth"] == row["predicted"] for row in result["rows"]]
    assert result["accuracy"] == pytest.approx(sum(right) / len(right))
    assert result["accuracy"] == pytest.approx(quick_run.metrics["test"]["accuracy"])


def test_a_seed_gives_the_same_run_twice(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny("architecture.name=resnet18", "train.lr=0.002")
    first, again = (train(recipe, tmp_path / name) for name in ("first", "again"))
    for one, other in zip(figures(first), figures(again), strict=True):
        assert other == pytest.approx(one, rel=1e-3)


def test_a_run_is_never_overwritten(quick_run: Run, quick_recipe: Recipe) -> None:
    with pytest.raises(TrainError, match="holds a run already"):
        train(quick_recipe, quick_run.folder)


def test_an_interrupted_run_leaves_no_folder(
    quick_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("marina.train.loop.Loop.run", interrupt)
    threads = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        train(quick_recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert set(threading.enumerate()) == threads  # TensorBoard's would write to that folder


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no run at"):
        Run.find(tmp_path)
