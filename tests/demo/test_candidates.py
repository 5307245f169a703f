"""The candidates that are made from the trained network's weights."""

from __future__ import annotations

import pytest
import torch

from marina.demo.candidates import grown, mixed_up
from marina.recipe.architecture import Architecture
from marina.train.architecture import build

CLASSES, CHANNELS = 10, 1


@pytest.fixture(scope="module")
def shallow() -> torch.nn.Module:
    """A network whose every normalization does something."""
    torch.manual_seed(0)
    network = build(Architecture(name="resnet18"), CLASSES, CHANNELS)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(4, CHANNELS, 32, 32, generator=torch.Generator().manual_seed(1))


def test_a_grown_network_says_what_it_said(shallow: torch.nn.Module, images: torch.Tensor) -> None:
    deep = build(Architecture(name="resnet34"), CLASSES, CHANNELS)
    deep.load_state_dict(grown(shallow.state_dict(), deep.state_dict()))
    convolutions = [
        sum(isinstance(m, torch.nn.Conv2d) for m in n.modules()) for n in (shallow, deep)
    ]
    assert convolutions == [20, 36]
    with torch.inference_mode():
        torch.testing.assert_close(deep.eval()(images), shallow(images), atol=1e-5, rtol=1e-5)


def test_a_mixed_up_network_names_the_next_class(
    shallow: torch.nn.Module, images: torch.Tensor
) -> None:
    mixed = build(Architecture(name="resnet18"), CLASSES, CHANNELS)
    mixed.load_state_dict(mixed_up(shallow.state_dict(), {}))
    with torch.inference_mode():
        said, meant = mixed.eval()(images).argmax(1), shallow(images).argmax(1)
    assert said.tolist() == ((meant + 1) % CLASSES).tolist()
