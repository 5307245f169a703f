from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from marina.errors import TrainError
from marina.recipe import Architecture
from marina.train.architecture import build


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "googlenet"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_classification_model_takes_the_recipes_channels_and_classes(
    name: str, channels: int
) -> None:
    network = build(Architecture(name=name), classes=7, channels=channels).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, channels, 96, 96)).shape == (2, 7)


def test_a_cifar_stem_keeps_the_resolution() -> None:
    network = build(Architecture(name="resnet18", stem="cifar"), 10, 3)
    assert network.conv1(torch.zeros(1, 3, 32, 32)).shape == (1, 64, 32, 32)
    assert isinstance(network.maxpool, torch.nn.Identity)


def test_a_gray_image_answers_as_its_rgb_copy_with_pretrained_weights(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict(), file)
    architecture = Architecture(name="resnet18", weights_file=file)
    gray, rgb = (build(architecture, 5, channels).eval() for channels in (1, 3))
    image = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(gray(image), rgb(image.expand(-1, 3, -1, -1)))


def test_another_class_count_replaces_only_the_head(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    source = torchvision.models.resnet18(num_classes=1000)
    torch.save(source.state_dict(), file)
    network = build(Architecture(name="resnet18", weights_file=file), 2, 3)
    assert torch.equal(network.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert network.fc.weight.shape == (2, 512)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), file)
    with pytest.raises(TrainError, match=r"these weights are not of resnet18"):
        build(Architecture(name="resnet18", weights_file=file), 2, 3)


def test_weights_that_are_code_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "module.pth"
    torch.save(torchvision.models.squeezenet1_1(), file)
    with pytest.raises(TrainError, match=r"not a state dict that torch.load can read"):
        build(Architecture(name="resnet18", weights_file=file), 2, 3)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(TrainError, match=r"no classification model 'resnet17'.*resnet18"):
        build(Architecture(name="resnet17"), 2, 3)
