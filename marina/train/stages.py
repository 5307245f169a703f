"""A network's stages, from its stem to its head: what fine-tuning freezes and slows down."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from torch import nn

from marina.errors import TrainError

if TYPE_CHECKING:
    from marina.recipe.train import FineTune

BACKBONE = "backbone"
# Where torchvision's networks keep a row of stages one level down.
_CONTAINERS = {"features", "encoder", "layers", "blocks", "trunk_output"}


def stages(network: nn.Module) -> tuple[str, ...]:
    """Name the modules that hold all parameters, in the order of definition; the last is the head.

    A ResNet gives ``conv1, bn1, layer1, …, layer4, fc``; a MobileNet ``features.0, …, classifier``.
    """
    return tuple(_stages_below(network, ""))


def _stages_below(module: nn.Module, prefix: str) -> list[str]:
    names = []
    for name, child in module.named_children():
        if not any(True for _ in child.parameters()):
            continue
        if name in _CONTAINERS:
            names += _stages_below(child, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def stage_of(parameter: str, names: tuple[str, ...]) -> int:
    """Give the index of the stage that a parameter lies in; one outside of all goes with the stem.

    Such are a vision transformer's class token and positions.
    """
    return next((i for i, name in enumerate(names) if parameter.startswith(f"{name}.")), 0)


def learning_stages(names: tuple[str, ...], fine_tune: FineTune, epoch: int) -> frozenset[int]:
    """Give the indices of the stages that learn in an epoch.

    Raises:
        TrainError: ``unfreeze`` names no stage.
    """
    head = len(names) - 1
    if not fine_tune.freeze:
        return frozenset(range(len(names)))
    learning = {head}
    for part, first_epoch in fine_tune.unfreeze.items():
        if part != BACKBONE and part not in names:
            near = difflib.get_close_matches(part, names, n=1)
            raise TrainError(
                f"train.fine_tune.unfreeze: the network has no stage {part!r}. "
                f"{f'Did you mean {near[0]}?' if near else ''} It has {', '.join(names)}"
            )
        if epoch >= first_epoch:
            learning |= set(range(head)) if part == BACKBONE else {names.index(part)}
    return frozenset(learning)


def freeze_all_but(network: nn.Module, learning: frozenset[int]) -> None:
    """Let only these stages learn, and put the network into training mode.

    Frozen stages stay in evaluation mode, so that their norms keep their statistics and their
    dropout is off.
    """
    names = stages(network)
    network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(stage_of(name, names) in learning)
    for index, name in enumerate(names):
        network.get_submodule(name).train(index in learning)
