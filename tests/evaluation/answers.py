"""Evaluations with chosen answers, without a network."""

from __future__ import annotations

from pathlib import Path

import torch

from marina.train.dataset import Split
from marina.train.evaluation import Evaluation, Throughput


def answers(
    logits: torch.Tensor, targets: list[int], labels: tuple[str, ...], temperature: float = 1.0
) -> Evaluation:
    root = Path("images")
    files = tuple(root / f"{index}.png" for index in range(len(targets)))
    split = Split(root, labels, files, tuple(targets))
    return Evaluation(split, logits, Throughput(100.0, 200.0, 8, "cpu"), temperature)


def certain(predicted: list[int], classes: int) -> torch.Tensor:
    """Logits (images, classes) that leave no doubt."""
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float() * 20
