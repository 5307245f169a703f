"""The learning rate at a step, and when to stop early.

Both are pure functions of what is done so far: a checkpoint need not hold anything of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from marina.recipe.schedule import Cosine, MultiStep, OneCycle, Plateau, Step

if TYPE_CHECKING:
    from marina.recipe import Train
    from marina.recipe.train import EarlyStopping


def lr_factor(train: Train, steps: int, done: int, val_losses: Sequence[float]) -> float:
    """Give the learning rate of the next step as a share of the peak.

    Args:
        train: The recipe's section.
        steps: Steps in an epoch.
        done: Steps done so far, over all epochs.
        val_losses: Validation loss after each finished epoch.
    """
    warmup = round(train.warmup_epochs * steps)
    if done < warmup:
        return (done + 1) / (warmup + 1)
    total, epoch = train.epochs * steps, done // steps  # whole epochs so far
    schedule = train.schedule
    if isinstance(schedule, Cosine):
        progress = (done - warmup) / max(1, total - warmup)
        return schedule.floor + (1 - schedule.floor) * _falling_cosine(progress)
    if isinstance(schedule, Step):
        return schedule.gamma ** (epoch // schedule.every_epochs)
    if isinstance(schedule, MultiStep):
        return schedule.gamma ** sum(epoch >= after for after in schedule.after_epochs)
    if isinstance(schedule, OneCycle):
        return _one_cycle(schedule, total, done)
    if isinstance(schedule, Plateau):
        return schedule.gamma ** _plateaus(schedule, val_losses)
    return 1.0


def _falling_cosine(progress: float) -> float:
    """Go from 1 to 0 as progress goes from 0 to 1."""
    return (1 + math.cos(math.pi * progress)) / 2


def _one_cycle(schedule: OneCycle, total: int, done: int) -> float:
    """Rise to 1 and fall (torch/optim/lr_scheduler.py, OneCycleLR, two phases, cosine)."""
    first = 1 / schedule.first_divisor
    last = first / schedule.last_divisor
    peak = schedule.rise * total - 1
    if done <= peak:
        return 1 + (first - 1) * _falling_cosine(done / peak)
    return last + (1 - last) * _falling_cosine((done - peak) / (total - 1 - peak))


def _plateaus(schedule: Plateau, val_losses: Sequence[float]) -> int:
    """Count how often the loss stopped falling (torch/optim/lr_scheduler.py, ReduceLROnPlateau)."""
    best, waited, plateaus = math.inf, 0, 0
    for loss in val_losses:
        if loss < best * (1 - schedule.min_improvement):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > schedule.patience_epochs:
            plateaus, waited = plateaus + 1, 0
    return plateaus


def stops_early(rule: EarlyStopping | None, val_accuracies: Sequence[float]) -> bool:
    """Tell whether the validation accuracy has stopped rising for longer than the rule bears."""
    if rule is None:
        return False
    best, waited = -1.0, 0
    for accuracy in val_accuracies:
        if accuracy > best + rule.min_improvement:
            best, waited = accuracy, 0
        else:
            waited += 1
    return waited > rule.patience_epochs
