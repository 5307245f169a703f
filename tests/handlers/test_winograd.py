"""Winograd's convolutions give what the direct ones give, wherever a graph has them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional

from handlers import nnpack, winograd
from handlers.image_spec import ImageSpec
from handlers.model import load_model, twin
from handlers.preprocess import normalize
from handlers.rewrite import use_winograd

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

SPEC = ImageSpec(64, 60, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CPU = torch.device("cpu")

needs_nnpack = pytest.mark.skipif(
    not nnpack.is_available(), reason="torch's library has no NNPACK for this processor"
)
BOTH = [pytest.param(nnpack, marks=needs_nnpack, id="nnpack"), pytest.param(winograd, id="own")]


@pytest.fixture(params=BOTH)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """By what a graph's convolutions are computed."""
    monkeypatch.setattr(nnpack, "is_available", lambda: request.param is nnpack)
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("by", BOTH)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("added", ["nothing", "an image", "a number a channel"])
@pytest.mark.parametrize(
    ("n", "c", "k", "height", "width"),
    [(1, 5, 7, 4, 4), (3, 8, 8, 14, 9), (2, 64, 48, 57, 30), (9, 64, 64, 8, 8), (1, 200, 3, 1, 33)],
)
def test_it_gives_what_the_direct_convolution_gives(
    n: int, c: int, k: int, height: int, width: int, added: str, relu: bool, by: ModuleType
) -> None:
    torch.manual_seed(0)
    x, bias = torch.randn(n, c, height, width), torch.randn(k)
    weights = torch.randn(k, c, 3, 3) / (9 * c) ** 0.5
    other = {
        "nothing": None,
        "an image": torch.randn(n, k, height, width),
        "a number a channel": torch.randn(k, 1, 1),
    }[added]
    exact = functional.conv2d(x.double(), weights.double(), bias.double(), padding=1)
    exact = exact if other is None else exact + other
    expected = (exact.relu() if relu else exact).float()
    for memory in (torch.contiguous_format, torch.channels_last):
        laid = x.to(memory_format=memory)
        result = by.convolve(laid, by.transform_weights(weights), bias, other, relu)
        torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


class Shapes(nn.Module):
    """Additions of every kind after convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 48, 3, padding=1)  # too few channels
        self.first = nn.Conv2d(48, 48, 3, padding=1, bias=False)  # before a residual's addition
        self.norm = nn.BatchNorm2d(48)
        self.second = nn.Conv2d(48, 64, 3, padding=1)  # its result is used twice
        self.third = nn.Conv2d(64, 64, 3, padding=1)
        self.fourth = nn.Conv2d(64, 64, 3, padding=1)  # is added in place to what a view shows
        self.fifth = nn.Conv2d(64, 64, 3, padding=1)
        self.sixth = nn.Conv2d(64, 64, 3, padding=1)  # twice something is added to it
        self.alone = nn.Conv2d(64, 64, 3, padding=1)  # too little to save, but for NNPACK
        self.head = nn.Linear(64, 5)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images)
        x = functional.relu(self.norm(self.first(x)) + x, inplace=True)
        x = self.second(x)
        x = x.relu() + x
        kept = x * 1.0
        view = kept.transpose(2, 3)
        kept += self.fourth(self.third(x))
        x = kept + view.transpose(2, 3)
        x = torch.add(self.sixth(self.fifth(x)), x, alpha=2).relu_()
        x = self.alone(x * 0.5)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Shapes().eval()


@pytest.fixture(scope="module")
def file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    with warnings.catch_warnings(action="ignore", category=FutureWarning), torch.no_grad():
        torch.jit.trace(network, torch.zeros(2, 3, 60, 60)).save(str(path))
    return path


def rewritten(
    file: Path, spec: ImageSpec = SPEC, *, fusion: bool = False
) -> torch.jit.ScriptModule:
    model = load_model(file, spec, CPU, fusion=fusion)
    use_winograd(model, spec)
    return model


def test_a_graph_keeps_its_answers(network: nn.Module, file: Path, way: ModuleType) -> None:
    model = rewritten(file)
    operators = [node.kind() for node in model.graph.nodes()]
    replaced = 7 if way is nnpack else 6
    assert operators.count(way.OPERATOR) == replaced  # first to sixth, and the one alone
    assert operators.count("aten::_convolution") == 8 - replaced
    for count in (1, 3):
        pixels = torch.randint(0, 256, (count, 3, 60, 60), dtype=torch.uint8)
        with torch.inference_mode():
            expected = network(normalize(pixels, SPEC))
            torch.testing.assert_close(model(pixels), expected, atol=1e-4, rtol=0)


def test_a_twin_computes_directly(network: nn.Module, file: Path, way: ModuleType) -> None:
    model = load_model(file, SPEC, CPU, fusion=False)
    again = twin(model)
    assert again is not None
    assert use_winograd(model, SPEC) > 0
    pixels = torch.randint(0, 256, (1, 3, 60, 60), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(normalize(pixels, SPEC))
        torch.testing.assert_close(again(pixels), expected, atol=1e-5, rtol=0)
    assert way.OPERATOR not in str(again.graph)


def test_a_sum_and_a_cut_are_done_in_one_go(file: Path, way: ModuleType) -> None:
    graph = rewritten(file).graph
    first, *_ = (node for node in graph.nodes() if node.kind() == way.OPERATOR)
    assert first.namedInput("other").type().kind() == "TensorType"
    assert first.namedInput("relu").toIValue() is True


@pytest.mark.parametrize(
    ("convolution", "px", "by"),
    [
        (nn.Conv2d(160, 160, 3, padding=1), 36, "nnpack"),
        (nn.Conv2d(160, 160, 3, padding=1), 20, None),  # saves too little alone
        (nn.Conv2d(48, 1400, 3, padding=1), 30, "own"),  # with too many weights for one image
        (nn.Conv2d(160, 160, 3, padding=1, stride=2), 72, None),
        (nn.Conv2d(160, 160, 3, padding=1, groups=2), 72, None),
        (nn.Conv2d(160, 160, 3, padding=1, dilation=2), 72, None),
        (nn.Conv2d(160, 160, 3), 72, None),
        (nn.Conv2d(160, 160, 5, padding=1), 72, None),
        (nn.ConvTranspose2d(160, 160, 3, padding=1), 72, None),
    ],
    ids=lambda value: str(value).replace("(160, 160, ", "("),
)
def test_only_what_suits_is_replaced(
    convolution: nn.Module, px: int, by: str | None, way: ModuleType, tmp_path: Path
) -> None:
    channels = int(convolution.in_channels)  # type: ignore[arg-type]
    whole = nn.Sequential(
        nn.Conv2d(3, channels, 1), nn.ReLU(), convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    path = tmp_path / "model.pt"
    with warnings.catch_warnings(action="ignore", category=FutureWarning), torch.no_grad():
        torch.jit.trace(whole.eval(), torch.zeros(2, 3, px, px)).save(str(path))
    spec = replace(SPEC, resize=px, crop=px)
    model = rewritten(path, spec)
    found = [node.kind() for node in model.graph.nodes() if node.kind().startswith("marina::")]
    expected = {"nnpack": [way.OPERATOR], "own": [winograd.OPERATOR], None: []}[by]
    assert found == expected


@needs_nnpack
def test_what_two_operators_take_is_laid_out_once(tmp_path: Path) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 64, 3, padding=1)
            self.first = nn.Conv2d(64, 64, 3, padding=1)
            self.second = nn.Conv2d(64, 64, 3, padding=1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = self.stem(images).relu()
            return (self.second(self.first(x).relu()) + x).relu().mean((2, 3))

    torch.manual_seed(0)
    network, path = Block().eval(), tmp_path / "model.pt"
    with warnings.catch_warnings(action="ignore", category=FutureWarning), torch.no_grad():
        torch.jit.trace(network, torch.zeros(2, 3, 60, 60)).save(str(path))
    model = rewritten(path)
    laid = [node for node in model.graph.nodes() if node.kind() == "aten::contiguous"]
    assert [use.user.kind() for each in laid for use in each.output().uses()] == [
        nnpack.OPERATOR
    ] * 2
    pixels = torch.randint(0, 256, (2, 3, 60, 60), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(normalize(pixels, SPEC))
        torch.testing.assert_close(model(pixels), expected, atol=1e-4, rtol=0)


class Changed(nn.Module):
    """A convolution whose input is changed before its result is added to another's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.first = nn.Conv2d(64, 64, 3, padding=1)
        self.second = nn.Conv2d(64, 64, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images)
        before = self.first(x)
        x.relu_()
        return (before + self.second(x)).mean((2, 3))


def test_what_is_changed_in_place_is_not_computed_later(tmp_path: Path, way: ModuleType) -> None:
    torch.manual_seed(0)
    network, path = Changed().eval(), tmp_path / "model.pt"
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(network).save(str(path))  # a trace would give it a new name
    model = rewritten(path)
    pixels = torch.randint(0, 256, (2, 3, 60, 60), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(normalize(pixels, SPEC))
        torch.testing.assert_close(model(pixels), expected, atol=1e-4, rtol=0)


def test_nnpack_says_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.zeros(4, 4, 3, 3)
    if nnpack.is_available():
        with pytest.raises(RuntimeError, match="NNPACK cannot convolve 4 by 4 channels of 0x8"):
            nnpack.convolve(
                torch.zeros(1, 4, 8, 0),
                nnpack.transform_weights(weights),
                torch.zeros(4),
                None,
                False,
            )
    monkeypatch.setattr(nnpack, "_function", lambda: None)
    with pytest.raises(RuntimeError, match="torch's library has no NNPACK"):
        nnpack.transform_weights(weights)


def test_half_precision_is_left_alone(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    cast = torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)
    with warnings.catch_warnings(action="ignore", category=FutureWarning), torch.no_grad(), cast:
        torch.jit.trace(network, torch.zeros(2, 3, 60, 60)).save(str(path))
    model = rewritten(path, fusion=True)
    assert "marina::" not in str(model.graph)
