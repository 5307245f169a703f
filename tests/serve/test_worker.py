"""The program that workers are started with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from marina.worker import NICE

PROGRAM = Path(sys.executable).with_name("marina-worker")

SAYS = """
import json, os, sys, threading
def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
"""
WORKER = """
print(json.dumps({
    "name": __name__, "argv": sys.argv, "path": sys.path[0], "nice": niceness(),
    "torch": sys.modules["torch"].nice if "torch" in sys.modules else None,
    "numpy": sys.modules["numpy"].nice if "numpy" in sys.modules else None,
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Libraries that note the priority that they are imported with, and programs that tell."""
    for name in ("torch", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"{SAYS}\nnice = niceness()\n")
    (tmp_path / "ts").mkdir()
    for name in ("model_service_worker", "metric_collector"):
        (tmp_path / "ts" / f"{name}.py").write_text(SAYS + WORKER)
    return tmp_path


def told(folder: Path, name: str) -> dict[str, Any]:
    program = folder / "ts" / f"{name}.py"
    done = subprocess.run(
        [PROGRAM, program, "--sock-type", "unix"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        check=True,
    )
    said = dict(json.loads(done.stdout))
    assert said["name"] == "__main__"
    assert said["argv"] == [str(program), "--sock-type", "unix"]
    assert said["path"] == str(program.parent)
    return said


def test_torch_is_imported_aside_and_what_serves_keeps_its_priority(folder: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    said = told(folder, "model_service_worker")
    assert said["nice"] == own
    assert said["torch"] == min(own + NICE, 19)
    assert said["numpy"] == own  # its threads serve


def test_another_program_runs_as_it_is(folder: Path) -> None:
    said = told(folder, "metric_collector")
    assert (said["torch"], said["numpy"]) == (None, None)
