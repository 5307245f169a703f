from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_precision import run_with

from handlers.golden import Golden
from handlers.model import load_model
from handlers.preprocess import normalize
from marina.errors import ExportError, ParityError, RecipeError
from marina.export import torchscript
from marina.export.parity import check_parity
from marina.export.torchscript import Served, compiled, export, is_exported
from marina.recipe import Recipe, Serve, read_recipe
from marina.train.dataset import UNLABELLED, Split
from marina.train.run import Run
from marina.train.training import train


def test_the_export_answers_as_the_network(quick_run: Run) -> None:
    parity = export(quick_run)
    assert parity.top1_agreement == 1.0
    assert parity.max_abs_logit_difference < 1e-3
    assert parity.images == 359
    assert parity.accuracy == parity.network_accuracy is not None
    record = json.loads((quick_run.folder / "parity.json").read_text())
    assert record["max_abs_logit_difference"] == parity.max_abs_logit_difference
    assert is_exported(quick_run)
    spec = quick_run.recipe.image
    network = quick_run.load_network()
    assert record["fusion"] is True
    served = load_model(quick_run.model, spec, torch.device("cpu"), fusion=False)
    with torch.inference_mode():
        for batch in (1, 5):
            pixels = torch.randint(0, 256, (batch, 1, 32, 32), dtype=torch.uint8)
            expected = network(normalize(pixels, spec))
            torch.testing.assert_close(served(pixels), expected, atol=1e-4, rtol=1e-4)


def test_golden_images_hold_the_labs_logits(quick_run: Run) -> None:
    export(quick_run)
    golden = Golden.load(quick_run.folder / "golden")
    assert len(golden.images) == 8
    assert all(len(image.logits) == 10 for image in golden.images)
    assert {image.label for image in golden.images} <= set(quick_run.labels)


def test_a_failed_parity_writes_no_model(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Served(torch.zeros(359, 10), fusion=True)
    monkeypatch.setattr("marina.export.torchscript.serve", lambda *_, **__: wrong)
    with pytest.raises(ParityError, match="logits differ by up to"):
        export(quick_run, tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_winograd_is_used_unless_the_recipe_says_otherwise(quick_run: Run, tmp_path: Path) -> None:
    run = run_with(quick_run, tmp_path / "run")
    export(run)
    assert proven(run)["winograd"] == "proved"
    assert is_exported(run)
    run = run_with(run, tmp_path / "run", "serve.winograd=false")
    assert not is_exported(run)
    export(run)
    assert proven(run)["winograd"] == "off"
    assert is_exported(run)


def test_a_model_is_served_without_winograd_where_it_moves_too_far(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = torchscript.serve

    def serve(*of: Any, winograd: bool = False) -> Served:
        served = exact(*of)
        return served._replace(logits=served.logits + 2e-3) if winograd else served

    monkeypatch.setattr(torchscript, "serve", serve)
    assert export(quick_run).max_abs_logit_difference < 1e-3
    assert proven(quick_run)["winograd"] == "refused"
    assert is_exported(quick_run)


def proven(run: Run) -> dict[str, Any]:
    return json.loads((run.folder / "parity.json").read_text())


IMAGES = Split(Path(), ("a", "b"), (Path("0"), Path("1")), (0, 1))


@pytest.mark.parametrize("fault", [2e-3, float("nan")])
def test_parity_refuses_what_is_off(fault: float) -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ParityError, match="logits differ"):
        check_parity(logits, logits + fault, IMAGES, Serve())


def test_parity_refuses_another_top_1() -> None:
    reference = torch.tensor([[0.0, 5e-4], [0.0, 1.0]])
    exported = torch.tensor([[5e-4, 0.0], [0.0, 1.0]])
    with pytest.raises(ParityError, match=r"top-1 agrees on 50\.0% of 2 images"):
        check_parity(reference, exported, IMAGES, Serve())


@pytest.mark.parametrize("labelled", [True, False])
def test_a_lower_precision_may_lose_so_much_accuracy(labelled: bool) -> None:
    images = IMAGES if labelled else replace(IMAGES, targets=(UNLABELLED,) * 2)
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    worse = torch.tensor([[1.0, 0.0], [0.9, 0.8]])
    parity = check_parity(logits, worse, images, Serve(precision="int8", max_accuracy_loss=0.5))
    assert (parity.top1_agreement, parity.accuracy_loss, parity.atol) == (0.5, 0.5, None)
    with pytest.raises(ParityError, match=r"int8 loses 50\.00% of top-1 on 2 test images"):
        check_parity(logits, worse, images, Serve(precision="int8"))
    with pytest.raises(ParityError):
        check_parity(logits, logits * float("nan"), images, Serve(precision="bf16"))


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


class Branching(torch.nn.Module):
    """Shows a dark image otherwise than a bright one; a trace keeps one way only."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.flatten(1)[:, :10]
        if bool(images.mean() > 0):
            pixels = pixels.flip(1)
        return pixels


def test_a_network_whose_way_depends_on_the_image_is_scripted(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One image at a time, so that each takes its own way.
    keys = ("serve.batch_size=1", "train.batch_size=1")
    run = run_with(quick_run, tmp_path / "run", *keys)
    monkeypatch.setattr(Run, "load_network", lambda _: Branching().eval())
    monkeypatch.setattr("marina.export.torchscript.PARITY_IMAGES", 40)
    with pytest.raises(ParityError, match=r"wants serve\.torchscript=script"):
        export(run)
    scripted = run_with(quick_run, tmp_path / "run", *keys, "serve.torchscript=script")
    assert export(scripted).max_abs_logit_difference < 1e-6
    assert is_exported(scripted)
    assert not is_exported(run_with(quick_run, tmp_path / "run", *keys))


def test_what_cannot_be_scripted_says_so(quick_recipe: Recipe) -> None:
    class Listing(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([*map(torch.flatten, images)])

    serve = quick_recipe.serve.model_copy(update={"torchscript": "script"})
    with pytest.raises(ExportError, match=r"cannot compile resnet18: .*serve\.torchscript=trace"):
        compiled(Listing().eval(), quick_recipe.model_copy(update={"serve": serve}))


def test_a_scripted_torchvision_model_is_served_as_a_traced_one(
    quick_run: Run, tmp_path: Path
) -> None:
    run = run_with(quick_run, tmp_path / "run", "serve.torchscript=script")
    parity = export(run)
    assert parity.top1_agreement == 1.0
    assert json.loads((run.folder / "parity.json").read_text())["torchscript"] == "script"


def test_lower_precisions_are_traced(quick_run: Run) -> None:
    keys = ("serve.torchscript=script", "serve.precision=int8")
    with pytest.raises(RecipeError, match="goes with `precision: fp32`"):
        read_recipe(quick_run.recipe_file, keys)
