"""Real processes, started by torchrun, that talk over gloo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from test_loop import figures
from test_resume import wait_for_step
from torch import nn
from train_in_double import in_double

from marina.recipe import Recipe
from marina.train.distributed import SharedBatchNorm2d, World, share_batch_statistics
from marina.train.run import Run
from marina.train.training import train

TORCHRUN = str(Path(sys.executable).with_name("torchrun"))
# What rounding makes of a training grows with each step: a ShuffleNet's normalizations of nearly
# equal pixels turn 1e-15 into 1% within eight. Hence double precision and a network that is tamer.
SCRIPT = str(Path(__file__).with_name("train_in_double.py"))
KEYS = (
    "architecture.name=mobilenet_v3_small",
    "train.augment={rotate_deg: 20}",
    "train.class_weights=[1, 2]",
    "train.clip_norm=50",
    "train.checkpoint_every_s=0",
)


def torchrun(recipe: Path, folder: Path, *keys: str) -> subprocess.Popen[bytes]:
    command = [TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    command += [SCRIPT, str(recipe), "--run-dir", str(folder)]
    command += [part for key in keys for part in ("--set", key)]
    return subprocess.Popen(command, start_new_session=True)


def finish(process: subprocess.Popen[bytes]) -> None:
    try:
        assert process.wait(timeout=240) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def alone(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        in_double(patch.setattr)
        return train(tiny(*KEYS), tmp_path_factory.mktemp("alone") / "run")


def test_two_processes_of_which_one_is_killed_give_the_run_of_one(
    alone: Run, tiny_file: Path, tmp_path: Path
) -> None:
    process = torchrun(tiny_file, tmp_path / "run", *KEYS)
    try:
        wait_for_step(tmp_path / "run" / "last.pt", epoch=1, step=2)
        rank1 = max(psutil.Process(process.pid).children(), key=lambda child: child.pid)
        assert rank1.environ()["RANK"] == "1"
        rank1.kill()
    finally:
        finish(process)
    run = Run(tmp_path / "run")
    assert run.metrics["environment"]["processes"] == 2
    for ours, theirs in zip(figures(run), figures(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    # What all steps together made of the weights.
    ours, theirs = (torch.load(r.last, weights_only=True)["network"] for r in (run, alone))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_shared_statistics_alone_are_those_of_batch_norm() -> None:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        shared = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        shared.load_state_dict(plain.state_dict())
        shared = share_batch_statistics(shared, torch.device("cpu"))
        assert isinstance(shared[1], SharedBatchNorm2d)
        images = torch.rand(8, 3, 9, 9)
        for network in (plain, shared):
            network(images).square().sum().backward()
        for (name, ours), theirs in zip(shared.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3, msg=name)
        for ours, theirs in zip(shared.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(shared.eval()(images), plain.eval()(images))
    finally:
        torch.distributed.destroy_process_group()


def test_rows_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(7.0).view(7, 1)
    shares = [rows[rank::3] for rank in range(3)]

    def all_gather(parts: list[torch.Tensor], _: torch.Tensor) -> None:
        for part, share in zip(parts, shares, strict=True):
            part[: len(share)] = share

    monkeypatch.setattr("torch.distributed.all_gather", all_gather)
    gathered = World(torch.device("cpu"), rank=1, size=3).gather_rows(shares[1], 7)
    assert torch.equal(gathered, rows)
