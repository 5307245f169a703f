"""Which of a network's layers are worth looking into, and what they give."""

from __future__ import annotations

import difflib

import torch
from torch import nn

from marina.errors import TrainError

# Below so many pixels a feature map says nothing of where.
LEAST_SIDE_PX = 4


def record(network: nn.Module, names: list[str], image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run an image through a network and keep the feature maps of some layers.

    Args:
        network: In evaluation mode.
        names: Paths of the layers.
        image: Normalized, shape (1, C, crop, crop).

    Returns:
        By name, in the order in which the layers ran, each (1, channels, h, w).

    Raises:
        TrainError: There is no such layer, or it gives something else.
    """
    kept = _record(network, names, image)
    for name in names:
        if name not in kept:
            raise TrainError(f"layer {name} gives no feature maps (1, channels, h, w)")
    return kept


def find(network: nn.Module, name: str) -> nn.Module:
    """Give a layer by its path.

    Raises:
        TrainError: There is no such layer; the message names the nearest.
    """
    known: dict[str, nn.Module] = dict(network.named_modules())
    if name not in known or not name:
        near = difflib.get_close_matches(name, known, n=3) or list(known)[-3:]
        raise TrainError(f"the network has no layer {name!r}. Near: {', '.join(near)}")
    return known[name]


def last_of_each_size(network: nn.Module, image: torch.Tensor) -> list[str]:
    """Give the last layer at each size of feature map that still says where, in order.

    Raises:
        TrainError: The network has no such layer.
    """
    names = [name for name, _ in network.named_modules() if name]
    sides = {name: tuple(maps.shape[-2:]) for name, maps in _record(network, names, image).items()}
    # A square image has square maps; what is not square has its channels last.
    last = {
        (height, width): name
        for name, (height, width) in sides.items()
        if height == width >= LEAST_SIDE_PX
    }
    if not last:
        raise TrainError(
            f"the network has no layer that gives maps of {LEAST_SIDE_PX} px or more: name a layer"
        )
    return list(last.values())


def _record(network: nn.Module, names: list[str], image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Keep what some layers give, by forward hooks, where it has the form of feature maps."""
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                kept[name] = output.detach().clone()  # the next layer may work in place

        return find(network, name).register_forward_hook(hook)

    handles = [keep(name) for name in names]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return kept
