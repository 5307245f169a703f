"""The network: any of torchvision's classification models, fitted to a recipe."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING
from urllib.error import URLError

import torch
import torchvision
from torch import nn

from marina.errors import TrainError
from marina.progress import console

if TYPE_CHECKING:
    from marina.recipe import Architecture

State = dict[str, torch.Tensor]


def build(architecture: Architecture, classes: int, channels: int) -> nn.Module:
    """Build the network with its first weights.

    Pretrained weights keep every tensor that still fits: a head of another class count starts
    afresh, and a first convolution for gray images takes the sum over the RGB kernels, which
    gives a gray image the answer that its RGB copy would get.

    Args:
        architecture: The recipe's section.
        classes: Length of the output.
        channels: 1 for gray, 3 for RGB.

    Raises:
        TrainError: No such model or weights, or weights of another architecture.
    """
    weights = first_weights(architecture)
    network = _skeleton(architecture.name, classes, pretrained=weights is not None)
    if architecture.stem == "cifar":
        _use_cifar_stem(network, architecture.name)
    if channels != 3:
        _use_channels(network, channels)
    if weights is not None:
        _load_what_fits(network, weights, architecture.name)
    return network


def _skeleton(name: str, classes: int, pretrained: bool) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise TrainError(f"torchvision has no classification model {name!r}. Near: {near or known}")
    options = {}
    if name in {"googlenet", "inception_v3"}:
        # Their published weights expect [-1, 1] input, which transform_input makes of ours; the
        # auxiliary heads serve a loss of their papers that we do not train with.
        options = {"aux_logits": False, "init_weights": True, "transform_input": pretrained}
    network: nn.Module = torchvision.models.get_model(name, num_classes=classes, **options)
    return network


def _use_cifar_stem(network: nn.Module, name: str) -> None:
    if not isinstance(network, torchvision.models.ResNet):
        raise TrainError(f"stem: cifar is for torchvision's ResNets, not {name}")
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()


def _use_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution by one that takes ``channels`` planes."""
    name, first = next(
        (name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)
    )
    parent, _, attribute = name.rpartition(".")
    kernel = _fold_planes(first.weight.detach(), channels)
    first = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    first.weight = nn.Parameter(kernel)
    setattr(network.get_submodule(parent), attribute, first)


def _fold_planes(kernel: torch.Tensor, channels: int) -> torch.Tensor:
    """Turn an RGB kernel (out, 3, h, w) into (out, channels, h, w) with the same total weight."""
    return kernel.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels


def first_weights(architecture: Architecture) -> State | None:
    """Read the pretrained state dict, or None where the network starts from chance.

    Raises:
        TrainError: torchvision has no such weights or cannot reach them, or the file is missing
            or holds something else than a state dict.
    """
    if architecture.weights_file:
        return _read_state(architecture)
    if not architecture.weights:
        return None
    enum = torchvision.models.get_model_weights(architecture.name)
    if architecture.weights not in enum.__members__:
        raise TrainError(
            f"{architecture.name} has no weights {architecture.weights!r}; "
            f"torchvision has {', '.join(enum.__members__)}"
        )
    try:
        return dict(enum[architecture.weights].get_state_dict(progress=console.is_terminal))
    except (URLError, OSError) as err:
        raise TrainError(
            f"weights {architecture.weights} of {architecture.name} are not in torchvision's cache "
            f"and cannot be downloaded ({err}). Give them as a file: "
            "--set architecture.weights=null --set architecture.weights_file=FILE"
        ) from err


def _read_state(architecture: Architecture) -> State:
    file = architecture.weights_file
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)  # type: ignore[arg-type]
    except FileNotFoundError as err:
        raise TrainError(f"no weights at {file} (architecture.weights_file)") from err
    except Exception as err:  # torch.load raises what its unpickler and zip reader raise
        raise TrainError(f"{file} is not a state dict that torch.load can read: {err}") from err
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise TrainError(
            f"{file} must hold a state dict (name → tensor), not {type(state).__name__}"
        )
    return state


def _load_what_fits(network: nn.Module, state: State, name: str) -> None:
    own = network.state_dict()
    first = next(key for key, tensor in own.items() if tensor.ndim == 4)
    if first in state and state[first].ndim == 4 and state[first].shape[1] != own[first].shape[1]:
        state = {**state, first: _fold_planes(state[first], own[first].shape[1])}
    fitting = {key: v for key, v in state.items() if key in own and own[key].shape == v.shape}
    missing = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
    allowed = {*list(own)[-2:], first}  # the head's weight and bias, and a stem of another size
    if not set(missing) <= allowed:
        raise TrainError(
            f"these weights are not of {name}: {len(missing)} of its {len(own)} tensors are absent "
            f"or of another shape, first {missing[0]}"
        )
    network.load_state_dict(fitting, strict=False)
    if missing:
        console.print(f"pretrained weights loaded; these start afresh: {', '.join(missing)}")
