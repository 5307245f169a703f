"""The exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


def weight_average(network: nn.Module, decay: float) -> AveragedModel:
    """Give the average of parameters and buffers; ``update_parameters`` takes in a step.

    Young averages follow faster, with decay (1 + n) / (10 + n) after n steps, so that the first
    weights, which are random, do not linger (as in TensorFlow's ExponentialMovingAverage).
    """

    @torch.no_grad()
    def blend(averages: Any, currents: Any, updates: Any) -> None:
        n = int(updates)
        share = 1 - min(decay, (1 + n) / (10 + n))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current, share)
            else:  # the count of batches that a norm has seen
                average.copy_(current)

    return AveragedModel(network, multi_avg_fn=blend, use_buffers=True)
