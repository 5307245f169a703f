from __future__ import annotations

from pathlib import Path

import pytest
import torch
from statsmodels.stats.contingency_tables import mcnemar

from marina.errors import DataError
from marina.evaluation.comparison import Comparison, compare, paired_interval
from marina.recipe import Recipe
from marina.train.evaluation import Evaluation, evaluate
from marina.train.run import Run
from marina.train.training import train


@pytest.fixture(scope="module")
def untrained(quick_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = quick_recipe.model_copy(
        update={"train": quick_recipe.train.model_copy(update={"epochs": 0})}
    )
    return train(recipe, tmp_path_factory.mktemp("untrained") / "run")


@pytest.fixture(scope="module")
def evaluation(quick_run: Run) -> Evaluation:
    return evaluate(quick_run)


def test_a_trained_run_is_really_better_than_an_untrained_one(
    quick_run: Run, evaluation: Evaluation, untrained: Run
) -> None:
    result = compare(quick_run, evaluation, untrained)
    assert result.real
    assert result.same_data
    assert result.verdict.startswith("really better than")
    assert result.difference == pytest.approx(result.accuracy - result.other_accuracy)
    low, high = result.interval
    assert 0 < low < result.difference < high

    table = [[0, result.only_this_right], [result.only_other_right, 0]]
    assert result.p_value == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_a_run_is_not_better_than_itself(quick_run: Run, evaluation: Evaluation) -> None:
    result = compare(quick_run, evaluation, quick_run)
    assert not result.real
    assert result.p_value == 1.0
    assert result.interval[0] < 0 < result.interval[1]
    assert "no real difference is shown" in result.verdict


def test_runs_of_other_classes_cannot_be_compared(
    quick_run: Run, evaluation: Evaluation, tmp_path: Path
) -> None:
    other = Run(tmp_path)
    (tmp_path / "labels.json").write_text('["ant", "bee"]')
    with pytest.raises(DataError, match=r"has 10 classes, .* was trained on 2"):
        compare(quick_run, evaluation, other)


def test_the_interval_covers_what_it_should() -> None:
    """Of 95% intervals, about 95 in 100 hold the true difference, even with few mistakes."""
    generator = torch.Generator().manual_seed(0)
    only_first, only_second, images = 0.06, 0.03, 150
    shares = torch.tensor([only_first, only_second, 1 - only_first - only_second])
    drawn = torch.multinomial(shares.expand(2000, 3), images, replacement=True, generator=generator)
    covered = 0
    for row in drawn:
        gained, lost = int((row == 0).sum()), int((row == 1).sum())
        low, high = paired_interval(gained, lost, images)
        covered += low <= only_first - only_second <= high
    assert 0.93 <= covered / 2000 <= 0.98


def test_other_training_data_is_said() -> None:
    result = Comparison("runs/b", 100, 0.9, 0.8, 12, 2, 0.1, (0.03, 0.17), 0.01, same_data=False)
    assert "Beware: runs/b was trained on other data" in result.verdict
