from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_loop import figures, weights
from typer.testing import CliRunner

from marina.cli import app
from marina.errors import TrainError
from marina.recipe import Recipe
from marina.train.checkpoints import Checkpoints
from marina.train.run import Run
from marina.train.state import TrainState
from marina.train.training import train

# Everything that a checkpoint must carry, and a step or two to be killed in.
FULL = (
    "train.epochs=4",
    "train.optimizer=adamw",
    "train.lr=0.002",
    "train.ema_decay=0.9",
    "train.amp=fp16",
    "train.schedule={kind: plateau, patience_epochs: 0}",
    "train.augment={rotate_deg: 20, horizontal_flip: true}",
    "train.mix={mixup_alpha: 0.2}",
    "train.checkpoint_every_s=0",
)


MARINA = str(Path(sys.executable).with_name("marina"))


class Killed(BaseException):
    """Stands for a signal in the tests that stay in this process."""


def wait_for_step(file: Path, epoch: int, step: int, deadline_s: float = 120) -> None:
    """Wait until a last.pt holds this step of this epoch, or a later one."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if file.exists():
            state = torch.load(file, weights_only=True)
            if (state["epoch"], state["step"]) >= (epoch, step):
                return
        time.sleep(0.02)
    raise AssertionError(f"{file} never reached epoch {epoch}, step {step}")


def test_a_run_killed_within_an_epoch_ends_as_one_left_alone(
    tiny: Callable[..., Recipe], tiny_file: Path, tmp_path: Path
) -> None:
    alone = train(tiny(*FULL), tmp_path / "alone")
    folder = tmp_path / "killed"
    command = [MARINA, "train", str(tiny_file), "--run-dir", str(folder)]
    command += [part for override in FULL for part in ("--set", override)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for_step(folder / "last.pt", epoch=2, step=2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / "metrics.json").exists()
    result = CliRunner().invoke(app, [*command[1:], "--resume"])
    assert result.exit_code == 0, result.output
    resumed = Run(folder)
    assert figures(resumed) == figures(alone)
    theirs = weights(alone)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(resumed).items())
    assert resumed.metrics["test"] == alone.metrics["test"]


@pytest.mark.parametrize(
    "keys",
    [
        ("train.schedule={kind: one_cycle}", "train.sampling=balanced", "train.accumulate=2"),
        ("train.fine_tune={freeze: true, unfreeze: {stage4: 2}}", "train.warmup_epochs=1"),
    ],
)
def test_it_goes_on_exactly_from_any_step(
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: tuple[str, ...],
) -> None:
    recipe = tiny("train.checkpoint_every_s=0", *keys)
    alone = train(recipe, tmp_path / "alone")
    after_step = Checkpoints.after_step
    for stop in [(1, 1), (1, 4), (2, 3)]:

        def kill(self: Checkpoints, state: TrainState, stop: tuple[int, int] = stop) -> None:
            after_step(self, state)
            if (state.epoch, state.step) == stop:
                raise Killed

        monkeypatch.setattr(Checkpoints, "after_step", kill)
        with pytest.raises(Killed):
            train(recipe, tmp_path / "killed", resume=True)
    monkeypatch.undo()
    assert figures(train(recipe, tmp_path / "killed", resume=True)) == figures(alone)


def test_a_finished_run_is_given_back(
    tiny: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny("train.epochs=1")
    run = train(recipe, tmp_path / "run")
    before = run.checkpoint.stat().st_mtime_ns
    assert train(recipe, tmp_path / "run", resume=True) == run
    assert run.checkpoint.stat().st_mtime_ns == before
    assert "is finished already" in " ".join(capsys.readouterr().err.split())


def test_a_run_goes_on_only_as_it_began(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    run = train(tiny("train.epochs=1"), tmp_path / "run")
    (run.folder / "metrics.json").unlink()
    with pytest.raises(TrainError, match=r"train.lr: 0.5 here, 0.02 there"):
        train(tiny("train.epochs=1", "train.lr=0.5"), run.folder, resume=True)
    train(tiny("train.epochs=1", "train.workers=1"), run.folder, resume=True)


def test_without_a_folder_the_newest_unfinished_run_goes_on(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny("train.epochs=1")
    with pytest.raises(TrainError, match="no unfinished run in runs/tiny"):
        train(recipe, resume=True)
    run = train(recipe)
    (run.folder / "metrics.json").unlink()
    train(recipe)
    assert train(recipe, resume=True).folder == run.folder


def test_a_damaged_checkpoint_says_so(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    run = train(tiny("train.epochs=1"), tmp_path / "run")
    (run.folder / "metrics.json").unlink()
    run.last.write_bytes(run.last.read_bytes()[:1000])
    with pytest.raises(TrainError, match=r"cannot go on from .*last\.pt"):
        train(tiny("train.epochs=1"), run.folder, resume=True)
    assert run.checkpoint.exists()
