from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from answers import answers
from torchmetrics.functional.classification import multiclass_calibration_error

from marina.evaluation.calibration import calibrate, calibration, fit_temperature
from marina.train.evaluation import evaluate
from marina.train.run import Run


def overconfident(factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (4000, 5) that are ``factor`` times as sharp as the targets that they produced."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=generator) * 1.5
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return logits * factor, targets


def test_the_calibration_error_is_torchmetrics() -> None:
    logits, targets = overconfident(3.0)
    ours = calibration(answers(logits, targets.tolist(), tuple("abcde")))
    theirs = multiclass_calibration_error(logits.softmax(1), targets, 5, n_bins=15)
    assert ours.ece == pytest.approx(float(theirs), abs=1e-6)
    assert sum(entry.images for entry in ours.bins) == 4000


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(factor: float) -> None:
    logits, targets = overconfident(factor)
    temperature = fit_temperature(logits, targets)
    assert temperature == pytest.approx(factor, rel=0.06)
    after = calibration(answers(logits, targets.tolist(), tuple("abcde"), temperature))
    assert after.ece < 0.03


def test_a_fitted_temperature_is_the_runs_from_then_on(quick_run: Run, tmp_path: Path) -> None:
    shutil.copytree(quick_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("*.json.tmp"))
    run = Run(tmp_path / "run")
    before = evaluate(run, "val")
    assert before.temperature == run.temperature == 1.0
    temperature = calibrate(run)
    after = evaluate(run, "val")
    assert after.temperature == run.temperature == temperature != 1.0
    assert calibration(after).nll < calibration(before).nll
    assert torch.equal(after.predicted, before.predicted)
    row = after.rows()[0]
    best = (after.logits[0] / temperature).softmax(0).max()
    assert row["probability"] == pytest.approx(float(best))

    run.checkpoint.write_bytes(run.checkpoint.read_bytes() + b" ")
    assert run.temperature == 1.0  # it was fitted to other weights
