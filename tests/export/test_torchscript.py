from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from handlers.golden import Golden
from marina.errors import ParityError
from marina.export.parity import check_parity
from marina.export.torchscript import export, is_exported, load_as_served
from marina.recipe import Recipe, read_recipe
from marina.train.run import Run
from marina.train.training import train


def test_the_export_answers_as_the_network(quick_run: Run) -> None:
    parity = export(quick_run)
    assert parity.top1_agreement == 1.0
    assert parity.max_abs_logit_difference < 1e-3
    assert parity.images == 256
    record = json.loads((quick_run.folder / "parity.json").read_text())
    assert record["max_abs_logit_difference"] == parity.max_abs_logit_difference
    assert is_exported(quick_run)
    network, module = quick_run.load_network(), load_as_served(quick_run.model)
    with torch.inference_mode():
        for batch in (1, 5):
            images = torch.randn(batch, 1, 32, 32)
            torch.testing.assert_close(module(images), network(images), atol=1e-4, rtol=1e-4)


def test_golden_images_hold_the_labs_logits(quick_run: Run) -> None:
    export(quick_run)
    golden = Golden.load(quick_run.folder / "golden")
    assert len(golden.images) == 8
    assert all(len(image.logits) == 10 for image in golden.images)
    assert {image.label for image in golden.images} <= set(quick_run.labels)


def test_a_failed_parity_writes_no_model(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), 10)

    monkeypatch.setattr("marina.export.torchscript.load_as_served", lambda _: Wrong())
    with pytest.raises(ParityError, match="logits differ by up to"):
        export(quick_run, tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [2e-3, float("nan")])
def test_parity_refuses_what_is_off(fault: float) -> None:
    logits = torch.tensor([[0.0, 1.0]])
    with pytest.raises(ParityError):
        check_parity(logits, logits + fault)


def test_an_untrained_imagenet_model_exports_on_the_sample_photographs(tmp_path: Path) -> None:
    models = Path(__file__).parents[2] / "models"
    recipe: Recipe = read_recipe(
        models / "resnet18_imagenet.yaml",
        ("architecture.weights=null", f"data.root={tmp_path / 'photographs'}"),
    )
    run = train(recipe, tmp_path / "run")
    assert run.metrics["test"] is None
    assert export(run).images == 2
    assert len(run.labels) == 1000
