"""The served graph: from pixels to logits, in every batch size."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from handlers.image_spec import ImageLimits, ImageSpec
from handlers.model import load_model, twin
from handlers.pipeline import Pipeline
from handlers.preprocess import normalize
from handlers.sizes import cut, graph_sizes, replayed

SPEC = ImageSpec(20, 16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DEVICES = [pytest.param("cpu")]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    return net.eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    with warnings.catch_warnings(action="ignore", category=FutureWarning), torch.no_grad():
        torch.jit.trace(network(), torch.zeros(2, 3, 16, 16)).save(str(path))
    return path


@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("device", DEVICES)
def test_every_batch_size_answers_as_the_network(file: Path, device: str, fusion: bool) -> None:
    where = torch.device(device)
    model = load_model(file, SPEC, where, fusion=fusion)
    pipeline = Pipeline(model, SPEC, ImageLimits(), where, threads=1, sizes=(6, 4, 1))
    pipeline.warm(top_k=2)
    net = network()
    for count in range(1, 10):
        images = list(torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8))
        with torch.no_grad():
            expected = net(normalize(torch.stack(images), SPEC))
        logits = pipeline.infer(pipeline.batch(images)).cpu()
        atol = 1e-5 if device == "cpu" else 1e-2
        torch.testing.assert_close(logits, expected, atol=atol, rtol=0)


def test_a_batch_is_cut_into_the_sizes_that_are_compiled() -> None:
    assert graph_sizes(8, fused=True) == (8, 4, 2, 1)
    assert graph_sizes(6, fused=True) == (6, 4, 2, 1)
    assert graph_sizes(3, fused=False) == (3, 2, 1)
    assert graph_sizes(1, fused=True) == (1,)
    cuts = {1: [1], 3: [2, 1], 4: [4], 7: [4, 2, 1], 9: [4, 4, 1]}
    assert {count: cut(count, (4, 2, 1)) for count in cuts} == cuts


def test_golden_images_are_replayed_in_every_size_that_they_do_not_fill_at_once() -> None:
    assert replayed((8, 4, 2, 1), images=8) == [4, 2, 1]
    assert replayed((4, 2, 1), images=8) == [2, 1]
    assert replayed((32, 16, 8, 4, 2, 1), images=8) == [32, 16, 4, 2, 1]
    assert replayed(tuple(range(12, 0, -1)), images=4) == [12, 8, 3, 2, 1]
    assert replayed((1,), images=8) == []


def test_a_twin_has_the_same_weights(file: Path) -> None:
    model = load_model(file, SPEC, torch.device("cpu"), fusion=True)
    again = twin(model)
    assert again is not None
    weights = {tensor.data_ptr() for tensor in constants(model.graph)}
    assert weights == {tensor.data_ptr() for tensor in constants(again.graph)}
    pixels = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model(pixels)
        for _ in range(3):  # oneDNN Graph compiles it in these
            torch.testing.assert_close(again(pixels), expected, atol=1e-5, rtol=0)


def constants(graph: Any) -> list[torch.Tensor]:
    values = [node.output().toIValue() for node in graph.findAllNodes("prim::Constant")]
    return [value for value in values if isinstance(value, torch.Tensor) and value.ndim > 1]
