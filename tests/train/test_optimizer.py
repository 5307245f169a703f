from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from marina.errors import TrainError
from marina.recipe import Train
from marina.recipe.train import FineTune
from marina.train.average import weight_average
from marina.train.optimizer import optimizer_for, take_step
from marina.train.stages import freeze_all_but, learning_stages, stage_of, stages


def settings(**keys: Any) -> Train:
    return Train.model_validate({"epochs": 1, **keys})


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def off() -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=False)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_biases_and_norms_are_not_decayed(kind: str) -> None:
    network = small()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    train = settings(optimizer=kind, lr=0.1, weight_decay=0.5, momentum=0)
    optimizer = optimizer_for(network, train)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    take_step(optimizer, off(), train, 1.0)
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"0.weight", "2.weight"}


def test_sgd_is_nesterovs() -> None:
    group = optimizer_for(small(), settings()).param_groups[0]
    assert (group["nesterov"], group["momentum"]) == (True, 0.9)


def test_l1_adds_the_penaltys_gradient_to_weights_alone() -> None:
    network = small()
    train = settings(lr=1.0, momentum=0, weight_decay=0, l1=0.01)
    optimizer = optimizer_for(network, train)
    expected = {}
    for name, p in network.named_parameters():
        p.grad = torch.zeros_like(p)
        expected[name] = p.detach() - (0.01 * p.detach().sign() if p.ndim > 1 else 0)
    take_step(optimizer, off(), train, 1.0)
    for name, p in network.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name])


def test_long_gradients_are_scaled_down() -> None:
    network = small()
    train = settings(lr=1.0, momentum=0, weight_decay=0, clip_norm=0.5)
    optimizer = optimizer_for(network, train)
    before = [p.detach().clone() for p in network.parameters()]
    for p in network.parameters():
        p.grad = torch.full_like(p, 10.0)
    take_step(optimizer, off(), train, 1.0)
    pairs = zip(before, network.parameters(), strict=True)
    change = torch.cat([(old - new.detach()).flatten() for old, new in pairs])
    assert float(change.norm()) == pytest.approx(0.5, rel=1e-4)


RESNET = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")


@pytest.mark.parametrize(
    ("name", "first", "head"),
    [
        ("resnet18", "conv1", "fc"),
        ("mobilenet_v3_small", "features.0", "classifier"),
        ("vit_b_16", "conv_proj", "heads"),
        ("shufflenet_v2_x0_5", "conv1", "fc"),
        ("convnext_tiny", "features.0", "classifier"),
    ],
)
def test_stages_go_from_stem_to_head(name: str, first: str, head: str) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name)
    names = stages(network)
    assert (names[0], names[-1]) == (first, head)
    owners = {stage_of(parameter, names) for parameter, _ in network.named_parameters()}
    assert owners == set(range(len(names)))


def test_each_stage_learns_slower_than_the_one_after_it() -> None:
    network = torchvision.models.resnet18(num_classes=2)
    optimizer = optimizer_for(network, settings(lr=1.0, fine_tune={"lr_decay": 0.5}))
    lrs = {id(p): g["peak_lr"] for g in optimizer.param_groups for p in g["params"]}
    assert lrs[id(network.fc.weight)] == 1.0
    assert lrs[id(network.layer4[0].conv1.weight)] == 0.5
    assert lrs[id(network.conv1.weight)] == 0.5**6
    assert len(lrs) == len(list(network.parameters()))


def test_stages_thaw_at_their_epochs() -> None:
    rule = FineTune(freeze=True, unfreeze={"layer4": 2, "backbone": 4})
    learning = [
        {RESNET[index] for index in learning_stages(RESNET, rule, epoch)} for epoch in range(1, 5)
    ]
    assert learning == [{"fc"}, {"fc", "layer4"}, {"fc", "layer4"}, set(RESNET)]
    assert learning_stages(RESNET, FineTune(), 1) == set(range(7))


def test_an_unknown_stage_gets_the_nearest() -> None:
    with pytest.raises(TrainError, match=r"no stage 'layer5'. Did you mean layer4\?.*conv1, bn1"):
        learning_stages(RESNET, FineTune(freeze=True, unfreeze={"layer5": 2}), 1)


def test_a_frozen_backbone_keeps_weights_and_statistics() -> None:
    network = torchvision.models.resnet18(num_classes=2)
    freeze_all_but(network, frozenset({6}))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train = settings(lr=0.1)
    optimizer = optimizer_for(network, train)
    network(torch.rand(4, 3, 32, 32)).sum().backward()
    take_step(optimizer, off(), train, 1.0)
    after = network.state_dict()
    assert {name for name in after if not torch.equal(after[name], before[name])} == {
        "fc.weight",
        "fc.bias",
    }


def test_the_average_follows_the_weights_by_its_decay() -> None:
    network = small()
    average = weight_average(network, decay=0.15)
    average.update_parameters(network)  # the first is a copy
    first = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight += 1.0
        network[1].num_batches_tracked += 7
    average.update_parameters(network)
    # the second step's decay is min(0.15, (1 + 1) / (10 + 1))
    torch.testing.assert_close(average.module[0].weight, first + 0.85)
    assert int(average.module[1].num_batches_tracked) == 7
