from __future__ import annotations

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from handlers.image_spec import ImageSpec
from marina.understanding.summary import summarize

SPEC = ImageSpec(64, 64, (0.5,) * 3, (0.5,) * 3)


def test_the_counts_are_torchs_own() -> None:
    network = torchvision.models.resnet18(num_classes=7).eval()
    network.layer1.requires_grad_(requires_grad=False)
    summary = summarize(network, SPEC, batch_size=2)
    parameters = list(network.parameters())
    assert summary.parameters == sum(p.numel() for p in parameters)
    assert summary.trainable == sum(p.numel() for p in parameters if p.requires_grad)
    assert summary.parameter_bytes == 4 * summary.parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(2, 3, 64, 64))
    assert summary.flops == pytest.approx(counter.get_total_flops(), rel=0.001)
    names = [layer.name for layer in summary.layers]
    assert names[0] == "conv1"
    assert names[-1] == "fc"
    assert summary.layers[0].output == (2, 64, 32, 32)
    assert summary.layers[-1].parameters == 512 * 7 + 7
    assert summary.activation_bytes > 2 * 64 * 32 * 32 * 4
