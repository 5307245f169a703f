"""Rewriting a frozen graph: convolutions that Winograd's algorithm computes faster.

torch has no public way to do it; what is used here of its graphs has been in it since TorchScript.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from handlers.winograd import OPERATOR, tiles, transform_weights

if TYPE_CHECKING:
    from handlers.image_spec import ImageSpec

_CONVOLUTIONS = ("aten::_convolution", "aten::conv2d")

# Below these the transforms cost more than the multiplications that they save, for an image alone
# most of all (scripts/winograd_speed.py): with fewer channels, with so few tiles that the larger
# weights are fetched from memory for a handful of products, and with less to multiply at all.
_FEWEST_CHANNELS = 48
_FEWEST_TILES = 9
_FEWEST_PRODUCTS = 64e6  # of the direct way, for an image

# oneDNN Graph wants its tensors in another layout, and gives them in another: each convolution
# between others of its own pays for that twice, and must save more.
_FEWEST_PRODUCTS_ALONE = 256e6


class _Step(NamedTuple):
    """A convolution with what follows it and can be done in one go.

    Attributes:
        nodes: The convolution, then those that use the one before and nothing else does.
        other: What is added to the convolution's result.
        relu: Whether negative results become 0.
    """

    nodes: list[Any]
    other: Any | None
    relu: bool


def use_winograd(model: torch.jit.ScriptModule, spec: ImageSpec) -> int:
    """Replace the convolutions of a frozen model for which it pays, before its first run.

    Args:
        model: Frozen, on a CPU; what is not in float32 is left alone.
        spec: Of its images: their size decides what pays.

    Returns:
        How many were replaced.
    """
    graph = model.graph
    pixels = torch.zeros(1, spec.channels, spec.crop, spec.crop, dtype=torch.uint8)  # (N, C, H, W)
    found = [node for node in graph.nodes() if node.kind() in _CONVOLUTIONS and _suits(node)]
    counts = _products(graph, found, model, pixels)
    large = [
        (_step(node), count)
        for node, count in zip(found, counts, strict=True)
        if count >= _FEWEST_PRODUCTS
    ]
    taken = {_input(step) for step, _ in large}
    given = {_output(step) for step, _ in large}
    chosen = [
        step.nodes[0]
        for step, count in large
        if _input(step) in given or _output(step) in taken or count >= _FEWEST_PRODUCTS_ALONE
    ]
    for node in chosen:
        _replace(graph, node)
    torch._C._jit_pass_dce(graph)  # noqa: SLF001 - the old weights go
    return len(chosen)


def _input(step: _Step) -> str:
    return str(step.nodes[0].namedInput("input").debugName())


def _output(step: _Step) -> str:
    return str(step.nodes[-1].output().debugName())


def _suits(node: Any) -> bool:
    """Tell whether a convolution is 3x3, of stride 1, whole, and between enough channels."""
    weights = _value(node, "weight")
    return (
        isinstance(weights, torch.Tensor)
        and weights.dtype == torch.float32
        and weights.shape[2:] == (3, 3)
        and min(weights.shape[:2]) >= _FEWEST_CHANNELS
        and all(_value(node, name) == [1, 1] for name in ("stride", "padding", "dilation"))
        and _value(node, "groups") == 1
        and not (node.kind() == "aten::_convolution" and _value(node, "transposed"))
    )


def _value(node: Any, name: str) -> Any:
    return node.namedInput(name).toIValue()


def _products(
    graph: Any, nodes: list[Any], model: torch.jit.ScriptModule, pixels: torch.Tensor
) -> list[int]:
    """Count what some convolutions multiply for an image; 0 of those with too few tiles.

    The graph is run once, for the sizes of their results.
    """
    if not nodes:
        return []
    probe = graph.copy()
    names = {node.output().debugName() for node in nodes}
    while list(probe.outputs()):
        probe.eraseOutput(0)
    for node, copy in zip(graph.nodes(), probe.nodes(), strict=True):  # named anew, in their order
        if node.outputsSize() == 1 and node.output().debugName() in names:
            probe.registerOutput(copy.output())
    probe.makeMultiOutputIntoTuple()
    run = torch._C._create_function_from_graph("probe", probe)  # noqa: SLF001 - no public way
    with torch.no_grad():
        results = run(model._c, pixels)  # noqa: SLF001
    sizes = [result.shape[2:] for result in results]
    return [
        _value(node, "weight").numel() * height * width
        if tiles(height) * tiles(width) >= _FEWEST_TILES
        else 0
        for node, (height, width) in zip(nodes, sizes, strict=True)
    ]


def _replace(graph: Any, node: Any) -> None:
    step = _step(node)  # what it adds may have been replaced by now
    weights, bias = _value(node, "weight"), _value(node, "bias")
    if bias is None:
        bias = weights.new_zeros(len(weights))
    last = step.nodes[-1]
    graph.setInsertPoint(last)
    constant = graph.insertConstant
    inputs = [
        node.namedInput("input"),
        constant(transform_weights(weights)),
        constant(bias),
        constant(None) if step.other is None else step.other,
        constant(step.relu),
    ]
    new = graph.insertNode(graph.create(OPERATOR, inputs, 1))
    new.output().setType(last.output().type())
    last.output().replaceAllUsesWith(new.output())
    for replaced in reversed(step.nodes):
        replaced.destroy()


def _step(convolution: Any) -> _Step:
    """Find what can be done together with a convolution: an addition, then a cut at 0."""
    nodes, other = [convolution], None
    following = _only_user(convolution)
    if following is not None and (other := _added(following, convolution)) is not None:
        nodes.append(following)
        following = _only_user(following)
    relu = following is not None and following.kind() in ("aten::relu", "aten::relu_")
    return _Step([*nodes, following] if relu else nodes, other, relu)


def _added(node: Any, result: Any) -> Any | None:
    """Give what a node adds to a result, if it is a tensor and is left as it is."""
    if node.kind() not in ("aten::add", "aten::add_") or node.inputsAt(2).toIValue() != 1:
        return None
    first, second = node.inputsAt(0), node.inputsAt(1)
    other = second if first.debugName() == result.output().debugName() else first
    if other is first and node.kind() == "aten::add_":
        return None
    return other if other.type().kind() == "TensorType" else None


def _only_user(node: Any) -> Any | None:
    uses = node.output().uses()
    return uses[0].user if len(uses) == 1 else None
