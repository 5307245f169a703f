"""The layers of a network with their parameters, FLOPs and memory, counted by torchinfo."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torchinfo

if TYPE_CHECKING:
    from torch import nn

    from handlers.image_spec import ImageSpec


@dataclass(frozen=True)
class Layer:
    """One module that computes something itself.

    Attributes:
        name: Its path in the network, such as ``layer1.0.conv1``.
        kind: Its class.
        output: The shape of what it gives.
        parameters: How many it has.
        flops: Of its forward pass.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """A network at one input shape.

    Attributes:
        input: Shape (N, C, crop, crop).
        layers: In the order in which they run.
        parameters: Of all layers.
        trainable: Those that training may change.
        flops: Of one forward pass over the whole batch: two for each multiplication with its
            addition, of convolutions, linear layers and norms.
        parameter_bytes: Memory of the parameters.
        activation_bytes: Memory of all layers' outputs, which training keeps for its backward
            pass; an inference keeps few of them at a time.
    """

    input: tuple[int, ...]
    layers: tuple[Layer, ...]
    parameters: int
    trainable: int
    flops: int
    parameter_bytes: int
    activation_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina summary --json`` prints it."""
        return asdict(self)


def summarize(network: nn.Module, spec: ImageSpec, batch_size: int = 1) -> Summary:
    """Run a blank batch through a network on the CPU, and count."""
    shape = (batch_size, spec.channels, spec.crop, spec.crop)
    counted = torchinfo.summary(network, shape, device="cpu", mode="eval", verbose=0, depth=99)
    names = {id(module): name for name, module in network.named_modules()}
    layers = tuple(
        Layer(
            name=names[info.layer_id],
            kind=info.class_name,
            output=tuple(info.output_size),
            parameters=info.num_params,
            flops=2 * info.macs,
        )
        for info in counted.summary_list
        if info.is_leaf_layer
    )
    return Summary(
        input=shape,
        layers=layers,
        parameters=counted.total_params,
        trainable=counted.trainable_params,
        flops=2 * counted.total_mult_adds,
        parameter_bytes=counted.total_param_bytes,
        activation_bytes=counted.total_output_bytes,
    )
