from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from marina.errors import TrainError
from marina.understanding.layers import find, last_of_each_size, record


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return torchvision.models.resnet18(num_classes=3).eval()


def test_the_last_layer_of_each_size_that_says_where(resnet: nn.Module) -> None:
    names = last_of_each_size(resnet, torch.zeros(1, 3, 64, 64))
    outputs = record(resnet, names, torch.zeros(1, 3, 64, 64))
    sizes = {name: output.shape[-1] for name, output in outputs.items()}
    assert sizes == {"relu": 32, "layer1": 16, "layer2": 8, "layer3": 4}


def test_what_is_recorded_is_what_the_layer_gives(resnet: nn.Module) -> None:
    image = torch.randn(1, 3, 32, 32)
    kept = record(resnet, ["conv1", "bn1"], image)
    with torch.no_grad():
        first = resnet.conv1(image)  # type: ignore[operator]
        assert torch.equal(kept["conv1"], first)
        # The ReLU after it works in place.
        assert torch.equal(kept["bn1"], resnet.bn1(first))  # type: ignore[operator]
    assert not resnet.conv1._forward_hooks  # type: ignore[union-attr]


def test_a_layer_that_gives_no_maps_is_refused(resnet: nn.Module) -> None:
    with pytest.raises(TrainError, match="layer fc gives no feature maps"):
        record(resnet, ["fc"], torch.zeros(1, 3, 32, 32))


def test_a_wrong_layer_is_named_with_its_nearest(resnet: nn.Module) -> None:
    with pytest.raises(TrainError, match=r"no layer 'layer3\.1\.conv9'. Near: layer3\.1\.conv"):
        find(resnet, "layer3.1.conv9")


def test_a_network_without_feature_maps_says_so() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(TrainError, match="has no layer that gives maps of 4 px or more"):
        last_of_each_size(network, torch.zeros(1, 1, 4, 4))
