from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from marina.recipe import Train
from marina.recipe.train import EarlyStopping
from marina.train.schedule import lr_factor, stops_early

EPOCHS, STEPS = 6, 5


def factors(schedule: dict[str, Any], warmup_epochs: float = 0) -> list[float]:
    train = Train.model_validate(
        {"epochs": EPOCHS, "schedule": schedule, "warmup_epochs": warmup_epochs}
    )
    return [lr_factor(train, STEPS, done, []) for done in range(EPOCHS * STEPS)]


def torch_factors(make: Any, every_step: bool) -> list[float]:
    """What torch's own scheduler gives at each step, for a peak of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, given = make(optimizer), []
    for done in range(1, EPOCHS * STEPS + 1):
        given.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if every_step or done % STEPS == 0:
            scheduler.step()
    return given


@pytest.mark.parametrize(
    ("schedule", "make", "every_step"),
    [
        (
            {"kind": "cosine"},
            lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS * STEPS),
            True,
        ),
        (
            {"kind": "cosine", "floor": 0.1},
            lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS * STEPS, eta_min=0.1),
            True,
        ),
        (
            {"kind": "step", "every_epochs": 2, "gamma": 0.5},
            lambda o: lr_scheduler.StepLR(o, 2, 0.5),
            False,
        ),
        (
            {"kind": "multi_step", "after_epochs": [1, 4], "gamma": 0.3},
            lambda o: lr_scheduler.MultiStepLR(o, [1, 4], 0.3),
            False,
        ),
        (
            {"kind": "one_cycle"},
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, EPOCHS * STEPS, cycle_momentum=False),
            True,
        ),
        ({"kind": "constant"}, lambda o: lr_scheduler.ConstantLR(o, 1.0), False),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_each_schedule_is_torchs(schedule: dict[str, Any], make: Any, every_step: bool) -> None:
    assert factors(schedule) == pytest.approx(torch_factors(make, every_step), abs=1e-9)


def test_warm_up_is_linear_and_then_the_schedule_begins() -> None:
    given = factors({"kind": "cosine"}, warmup_epochs=1)
    assert given[:STEPS] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert given[STEPS] == 1.0
    assert given[-1] < 0.01


def test_plateau_is_torchs() -> None:
    losses = [1.0, 0.9, 0.95, 0.91, 0.92, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.4]
    train = Train.model_validate(
        {"epochs": 20, "schedule": {"kind": "plateau", "patience_epochs": 1, "gamma": 0.5}}
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.5)
    for count, loss in enumerate(losses, start=1):
        scheduler.step(loss)
        ours = lr_factor(train, STEPS, count * STEPS, losses[:count])
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("accuracies", "stops"),
    [
        ([], False),
        ([0.5, 0.4, 0.4], False),
        ([0.5, 0.4, 0.4, 0.4], True),
        ([0.5, 0.4, 0.4, 0.51], True),  # better, but not by enough
        ([0.5, 0.4, 0.4, 0.6], False),
    ],
)
def test_early_stopping_bears_its_patience(accuracies: list[float], stops: bool) -> None:
    rule = EarlyStopping(patience_epochs=2, min_improvement=0.02)
    assert stops_early(rule, accuracies) == stops
    assert not stops_early(None, accuracies)
