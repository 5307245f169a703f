"""Rewriting a frozen graph: convolutions that Winograd's algorithm computes faster.

torch has no public way to do it; what is used here of its graphs has been in it since TorchScript.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from handlers import nnpack, winograd

if TYPE_CHECKING:
    from collections.abc import Callable

    from handlers.image_spec import ImageSpec

_CONVOLUTIONS = ("aten::_convolution", "aten::conv2d")

_FEWEST_CHANNELS = 48


class _Way(NamedTuple):
    """How a convolution is computed, and from where on it pays (scripts/winograd_speed.py).

    Below, the transforms cost more than the multiplications that they save, for an image alone most
    of all: with so few tiles that the larger weights are fetched from memory for a handful of
    products, and with less to multiply at all. oneDNN Graph wants its tensors in another layout,
    and gives them in another: each convolution between others of its own pays for that twice, and
    must save more.

    Attributes:
        operator: That computes it.
        transform_weights: Makes its weights.
        side: Of a tile's results.
        fewest_tiles: Of an image.
        most_weights: Products of its channels.
        fewest_products: Of the direct way, for an image.
        fewest_products_alone: The same, between others of oneDNN Graph's.
    """

    operator: str
    transform_weights: Callable[[torch.Tensor], torch.Tensor]
    side: int
    fewest_tiles: int
    most_weights: float
    fewest_products: float
    fewest_products_alone: float

    def suits(self, weights: torch.Tensor, size: tuple[int, int]) -> bool:
        """Tell whether it pays for weights (K, C, 3, 3) and results of so many pixels."""
        height, width = size
        tiles = -(-height // self.side) * -(-width // self.side)
        return (
            tiles >= self.fewest_tiles
            and weights.shape[0] * weights.shape[1] <= self.most_weights
            and weights.numel() * height * width >= self.fewest_products
        )


_NNPACK = _Way(
    operator=nnpack.OPERATOR,
    transform_weights=nnpack.transform_weights,
    side=nnpack.SIDE,
    fewest_tiles=16,
    most_weights=256**2,
    fewest_products=32e6,
    fewest_products_alone=96e6,
)
_OWN = _Way(
    operator=winograd.OPERATOR,
    transform_weights=winograd.transform_weights,
    side=winograd.SIDE,
    fewest_tiles=9,
    most_weights=float("inf"),
    fewest_products=64e6,
    fewest_products_alone=256e6,
)


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
    sizes = _sizes(graph, found, model, pixels)
    large = [
        (_step(node), way, _value(node, "weight").numel() * size[0] * size[1])
        for node, size in zip(found, sizes, strict=True)
        if (way := _way(_value(node, "weight"), size)) is not None
    ]
    taken = {_input(step) for step, _, _ in large}
    given = {_output(step) for step, _, _ in large}
    chosen = [
        (step.nodes[0], way)
        for step, way, products in large
        if _input(step) in given or _output(step) in taken or products >= way.fewest_products_alone
    ]
    for node, way in chosen:
        _replace(graph, node, way)
    _lay_out_once(graph)
    torch._C._jit_pass_dce(graph)  # noqa: SLF001 - the old weights go
    return len(chosen)


def _way(weights: torch.Tensor, size: tuple[int, int]) -> _Way | None:
    """Choose how a convolution is computed; None where the direct way is as fast."""
    ways = (_NNPACK, _OWN) if nnpack.is_available() else (_OWN,)
    return next((way for way in ways if way.suits(weights, size)), None)


def _input(step: _Step) -> str:
    return str(step.nodes[0].namedInput("input").debugName())


def _output(step: _Step) -> str:
    return str(step.nodes[-1].output().debugName())


def _suits(node: Any) -> bool:
    """Tell whether a convolution is 3x3, of stride 1, whole, and between enough channels.

    What takes its place comes behind what follows it, where its input must be what it was.
    """
    weights = _value(node, "weight")
    return (
        _is_kept(node.namedInput("input"))
        and isinstance(weights, torch.Tensor)
        and weights.dtype == torch.float32
        and weights.shape[2:] == (3, 3)
        and min(weights.shape[:2]) >= _FEWEST_CHANNELS
        and all(_value(node, name) == [1, 1] for name in ("stride", "padding", "dilation"))
        and _value(node, "groups") == 1
        and not (node.kind() == "aten::_convolution" and _value(node, "transposed"))
    )


def _value(node: Any, name: str) -> Any:
    return node.namedInput(name).toIValue()


def _sizes(
    graph: Any, nodes: list[Any], model: torch.jit.ScriptModule, pixels: torch.Tensor
) -> list[tuple[int, int]]:
    """Give height and width of some convolutions' results: the graph is run once for them."""
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
        return [tuple(result.shape[2:]) for result in run(model._c, pixels)]  # noqa: SLF001


def _replace(graph: Any, node: Any, way: _Way) -> None:
    step = _step(node)  # what it adds may have been replaced by now
    weights, bias = _value(node, "weight"), _value(node, "bias")
    if bias is None:
        bias = weights.new_zeros(len(weights))
    last = step.nodes[-1]
    graph.setInsertPoint(last)
    constant = graph.insertConstant
    inputs = [
        node.namedInput("input"),
        constant(way.transform_weights(weights)),
        constant(bias),
        constant(None) if step.other is None else step.other,
        constant(step.relu),
    ]
    new = graph.insertNode(graph.create(way.operator, inputs, 1))
    new.output().setType(last.output().type())
    last.output().replaceAllUsesWith(new.output())
    for replaced in reversed(step.nodes):
        replaced.destroy()


def _lay_out_once(graph: Any) -> None:
    """Bring what several operators of NNPACK take into its layout once, and not in each of them."""
    users: dict[str, list[Any]] = {}
    for node in graph.nodes():
        if node.kind() == nnpack.OPERATOR:
            for name in ("x", "other"):
                users.setdefault(node.namedInput(name).debugName(), []).append(node)
    for name, nodes in users.items():
        value = next(each for each in nodes[0].inputs() if each.debugName() == name)
        if len(nodes) == 1 or value.node().kind() == nnpack.OPERATOR or not _is_kept(value):
            continue
        graph.setInsertPoint(nodes[0])
        layout = graph.insertConstant(0)  # torch.contiguous_format
        laid = graph.insertNode(graph.create("aten::contiguous", [value, layout], 1))
        for node in nodes:
            node.replaceInputWith(value, laid.output())


def _is_kept(value: Any) -> bool:
    """Tell whether a value is a tensor that none of those who use it change."""
    changed = (use.user.kind().endswith("_") and use.offset == 0 for use in value.uses())
    return value.type().kind() == "TensorType" and not any(changed)


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
