"""Each precision from a trained run to an archive's own checks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from handlers.golden import Golden
from handlers.pipeline import Pipeline
from marina.errors import DataError, ExportError, ParityError
from marina.export.images import evenly_spaced
from marina.export.precision import trace
from marina.export.torchscript import check_decoding, export, is_exported
from marina.recipe import Recipe, read_recipe
from marina.train.dataset import read_split
from marina.train.evaluation import infer
from marina.train.run import Run


def run_with(run: Run, folder: Path, *overrides: str) -> Run:
    """Give a copy of a run whose recipe says something else."""
    recipe = read_recipe(run.recipe_file, overrides)
    copy = replace(run, folder=folder)
    folder.mkdir(exist_ok=True)
    for name in ("checkpoint.pt", "labels.json", "metrics.json"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    copy.recipe_file.write_text(recipe.as_yaml())
    return copy


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
def test_a_lower_precision_keeps_the_accuracy(
    quick_run: Run, tmp_path: Path, precision: str
) -> None:
    run = run_with(
        quick_run,
        tmp_path / "run",
        f"serve.precision={precision}",
        "serve.max_accuracy_loss=0.03",
        "serve.batch_size=32",
    )
    parity = export(run)
    record = json.loads((run.folder / "parity.json").read_text())
    assert record["precision"] == precision
    assert record["accuracy"] >= record["network_accuracy"] - 0.03
    assert parity.top1_agreement > 0.95
    assert parity.max_abs_logit_difference > 1e-4  # it really computes in fewer bits
    golden = Golden.load(run.folder / "golden")
    assert golden.atol["cpu"] == max(1e-3, parity.max_abs_logit_difference)
    assert is_exported(run)
    other = run_with(quick_run, run.folder, "serve.precision=fp32")
    assert not is_exported(other)


def test_golden_images_allow_what_a_workers_threads_were_seen_to_change(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    class Watched(Pipeline):
        def infer(self, batch: torch.Tensor) -> torch.Tensor:
            threads.append(torch.get_num_threads())
            logits = super().infer(batch)
            return logits + 9 if threads[-1] == 3 else logits

    monkeypatch.setattr("marina.export.torchscript.Pipeline", Watched)
    before = torch.get_num_threads()
    run = run_with(quick_run, tmp_path / "run", "serve.precision=bf16", "serve.threads=3")
    export(run)
    assert set(threads) == {before, 3}
    assert torch.get_num_threads() == before
    assert Golden.load(run.folder / "golden").atol["cpu"] == pytest.approx(9, abs=0.2)


def test_int8_that_loses_too_much_is_refused(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(network: torch.nn.Module, recipe: Recipe) -> torch.jit.ScriptModule:
        torch.nn.init.zeros_(network.fc.weight)
        return trace(network, recipe)

    monkeypatch.setattr("marina.export.torchscript.trace", blind)
    run = run_with(quick_run, tmp_path / "run", "serve.precision=int8", "serve.batch_size=32")
    with pytest.raises(ParityError, match=r"more than serve\.max_accuracy_loss=0\.01 allows"):
        export(run)
    assert not run.model.exists()


def test_what_cannot_be_rewritten_says_so(quick_recipe: Recipe) -> None:
    class Branching(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))

    bf16 = quick_recipe.model_copy(
        update={"serve": quick_recipe.serve.model_copy(update={"precision": "bf16"})}
    )
    with pytest.raises(ExportError, match="resnet18 cannot be rewritten for precision bf16"):
        trace(Branching().eval(), bf16)


def test_int8_wants_training_images(tmp_path: Path) -> None:
    models = Path(__file__).parents[2] / "models"
    recipe = read_recipe(
        models / "resnet18_imagenet.yaml",
        ("serve.precision=int8", f"data.root={tmp_path / 'photographs'}"),
    )
    with pytest.raises(DataError, match="no images in"):
        trace(torch.nn.Identity(), recipe)


def test_fast_decoding_is_held_against_exact_decoding(quick_run: Run) -> None:
    images = evenly_spaced(read_split(quick_run.recipe.data, "test"), 40)
    network = quick_run.load_network()
    logits = infer(network, images, quick_run.recipe)
    assert check_decoding(logits, network, images, quick_run.recipe) is None
    spec = replace(quick_run.recipe.image, decode="fast")
    fast = quick_run.recipe.model_copy(update={"image": spec})
    assert check_decoding(logits, network, images, fast) == 1.0
    wrong = logits.roll(1, dims=1)
    with pytest.raises(ParityError, match=r"changes the top-1 of 100\.00% of 40 test images"):
        check_decoding(wrong, network, images, fast)
