from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from marina.errors import TrainError
from marina.recipe import Recipe
from marina.train.run import Run
from marina.train.training import train

TIMES = {"images_per_s", "seconds"}
DEVICES: list[Any] = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))


def figures(run: Run) -> list[dict[str, Any]]:
    """The epochs of a run without what a clock says."""
    return [
        {key: value for key, value in epoch.items() if key not in TIMES}
        for epoch in run.metrics["epochs"]
    ]


def weights(run: Run) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run.checkpoint, weights_only=True)["model"]
    return state


@pytest.mark.parametrize(
    "override",
    [
        "optimizer=adam",
        "optimizer=adamw",
        "schedule={kind: one_cycle}",
        "schedule={kind: plateau, patience_epochs: 0}",
        "mix={mixup_alpha: 0.2, cutmix_alpha: 1.0}",
        "class_weights=balanced",
        "sampling=balanced",
        "ema_decay=0.9",
        "amp=bf16",
        "amp=fp16",
        "channels_last=true",
        "fine_tune={freeze: true, unfreeze: {stage4: 2}, lr_decay: 0.5}",
        "augment={rand_augment: {}, random_erasing: 0.5}",
    ],
)
@pytest.mark.parametrize("device", DEVICES)
def test_each_key_trains(
    tiny: Callable[..., Recipe], tmp_path: Path, override: str, device: str
) -> None:
    recipe = tiny(f"train.{override}", f"train.device={device}")
    run = train(recipe, tmp_path / "run")
    plain = Run(tmp_path / "run")
    assert plain.recipe == recipe
    assert len(run.metrics["epochs"]) == 2
    assert all(torch.isfinite(value).all() for value in weights(run).values())


def test_it_learns(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny("architecture.name=resnet18", "train.epochs=4", "train.lr=0.005")
    run = train(recipe, tmp_path / "run")
    assert run.metrics["test"]["accuracy"] == 1.0
    losses = [epoch["train_loss"] for epoch in run.metrics["epochs"]]
    assert min(losses) < losses[0] / 2


@pytest.mark.parametrize("device", DEVICES)
def test_deterministic_runs_are_equal_to_the_bit(
    tiny: Callable[..., Recipe], tmp_path: Path, device: str
) -> None:
    recipe = tiny(
        "train.deterministic=true",
        "train.augment.rotate_deg=20",
        "train.mix={mixup_alpha: 0.2}",
        f"train.device={device}",
    )
    first, second = (train(recipe, tmp_path / name) for name in ("a", "b"))
    assert figures(first) == figures(second)
    theirs = weights(second)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(first).items())
    assert not torch.are_deterministic_algorithms_enabled()


def test_another_seed_gives_another_run(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    first, second = (
        train(tiny(f"train.seed={seed}", "train.epochs=1"), tmp_path / str(seed)) for seed in (0, 1)
    )
    assert figures(first) != figures(second)


def test_a_batch_in_pieces_learns_what_it_does_whole(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A network without batch normalization, whose statistics would be a piece's own.
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda _, inputs: inputs)
    keys = (
        "architecture.name=squeezenet1_1",
        "train.label_smoothing=0.1",
        "train.class_weights=[1, 2]",
        "train.l1=1.0e-4",
        "train.clip_norm=1.0",
    )
    whole, pieces = (train(tiny(*keys, f"train.accumulate={n}"), tmp_path / str(n)) for n in (1, 2))
    for one, other in zip(figures(whole), figures(pieces), strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_the_average_is_what_is_kept(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    run = train(tiny("train.ema_decay=0.9", "train.epochs=1"), tmp_path / "run")
    last = torch.load(run.last, weights_only=True)
    kept = weights(run)
    assert torch.equal(kept["fc.weight"], last["average"]["module.fc.weight"])
    assert not torch.equal(kept["fc.weight"], last["network"]["fc.weight"])


def test_a_frozen_backbone_is_that_of_the_weights_file(
    tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    first = train(tiny("train.epochs=1"), tmp_path / "first")
    tuned = train(
        tiny(
            "train.epochs=1",
            f"architecture.weights_file={first.checkpoint}",
            "train.fine_tune.freeze=true",
        ),
        tmp_path / "tuned",
    )
    before, after = weights(first), weights(tuned)
    assert {name for name in after if not torch.equal(before[name], after[name])} == {
        "fc.weight",
        "fc.bias",
    }


def test_early_stopping_ends_the_run(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny(
        "train.epochs=9",
        "train.lr=1.0e-9",  # nothing improves
        "train.early_stopping={patience_epochs: 1, min_improvement: 0.9}",
    )
    assert len(train(recipe, tmp_path / "run").metrics["epochs"]) == 3


def test_a_loss_that_is_no_number_ends_the_run(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"the loss is (nan|inf) in epoch 1: lower train.lr"):
        train(tiny("train.lr=1.0e+30"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_shared_out_is_refused(
    tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    from marina.train.distributed import World
    from marina.train.training import _on_device

    with pytest.raises(TrainError, match=r"batch_size \(8\) must be a multiple .*3 × 2"):
        _on_device(
            torch.nn.Identity(),
            tiny("train.accumulate=2").train,
            World(torch.device("cpu"), 0, 3),
        )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.accumulate=3", "must divide batch_size"),
        ("train.fine_tune.unfreeze={fc: 2}", "goes with `freeze: true`"),
        ("train.mix={}", "mixup_alpha, cutmix_alpha or both"),
        ("train.schedule={kind: step}", "schedule.step.every_epochs"),
        ("train.schedule={kind: cosine, gamma: 1}", r"cosine.gamma: unknown key. Valid here: kind"),
        ("train.augment={rand_augment: {}, trivial_augment: true}", "not both"),
        ("data.source=torchvision", "needs `dataset`"),
        ("data.val_fraction=0.9", "leave nothing to train on"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(
    tiny: Callable[..., Recipe], override: str, message: str
) -> None:
    from marina.errors import RecipeError

    with pytest.raises(RecipeError, match=message):
        tiny(override)


def test_a_compiled_step_learns_the_same(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dynamo's own capture, without the minutes that Inductor takes to generate code.
    compiled = []

    def compile_quickly(network: torch.nn.Module) -> Any:
        compiled.append(network)
        return plain(network, backend="eager")

    plain = torch.compile
    keys = ("train.epochs=1", "architecture.name=squeezenet1_1")
    eager = train(tiny(*keys), tmp_path / "eager")
    monkeypatch.setattr(torch, "compile", compile_quickly)
    run = train(tiny(*keys, "train.compile=true"), tmp_path / "compiled")
    assert len(compiled) == 1
    assert figures(run) == figures(eager)
