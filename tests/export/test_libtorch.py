"""The C++ program, built against the libtorch inside the installed torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from marina.export.torchscript import export, is_exported
from marina.train.dataset import read_split
from marina.train.run import Run

SOURCE = Path(__file__).parents[2] / "scripts" / "libtorch"
CMAKE = shutil.which("cmake", path=f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (CMAKE and shutil.which("g++")), reason="needs cmake and g++"),
]


def run_command(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("build")
    torch_dir = Path(torch.__file__).parent
    for step in (
        [CMAKE, "-S", SOURCE, "-B", build, f"-DTORCH_DIR={torch_dir}"],
        [CMAKE, "--build", build],
    ):
        done = run_command(*step)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "classify"


@pytest.fixture(scope="module")
def model(quick_run: Run) -> Path:
    if not is_exported(quick_run):
        export(quick_run)
    return quick_run.model


def test_cpp_answers_as_python_does(
    classify: Path, model: Path, quick_run: Run, tmp_path: Path
) -> None:
    for file in read_split(quick_run.recipe.data, "test").files[::180]:
        prepare = run_command(sys.executable, SOURCE / "prepare.py", model, file, tmp_path / "x.pt")
        assert prepare.returncode == 0, prepare.stderr
        done = run_command(classify, model, tmp_path / "x.pt")
        assert done.returncode == 0, done.stderr
        python, cpp = (text.rstrip("\n").split("\t") for text in (prepare.stdout, done.stdout))
        assert (cpp[0], cpp[2]) == (python[0], python[2])
        assert float(cpp[1]) == pytest.approx(float(python[1]), abs=1e-5)


def test_each_fault_has_its_cause_and_its_exit_code(
    classify: Path, model: Path, tmp_path: Path
) -> None:
    good, small, flat = (tmp_path / name for name in ("good.pt", "small.pt", "flat.pt"))
    torch.save(torch.zeros(1, 1, 32, 32), good)
    torch.save(torch.zeros(1, 3, 32, 32), small)
    torch.save(torch.zeros(32, 32), flat)
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    bare = tmp_path / "bare.pt"
    with pytest.warns(FutureWarning):
        torch.jit.save(torch.jit.script(torch.nn.Flatten()), bare)
    for arguments, code, cause in (
        ((), 2, "usage: classify MODEL.pt IMAGE.pt"),
        ((tmp_path / "none.pt", good), 3, "cannot read"),
        ((junk, good), 3, "is not TorchScript"),
        ((bare, good), 3, "carries no labels"),
        ((model, tmp_path / "none.pt"), 4, "cannot read"),
        ((model, junk), 4, "is not a tensor that torch.save wrote"),
        ((model, flat), 4, "expected Float [1, C, crop, crop], got Float [32, 32]"),
        ((model, small), 5, "does not take an image of shape [1, 3, 32, 32]"),
    ):
        done = run_command(classify, *arguments)
        assert done.returncode == code, done.stderr
        assert cause in done.stderr
        assert done.stdout == ""
