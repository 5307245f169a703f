"""The program that workers are started with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent
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
    "imported": {
        each: sys.modules[each].nice
        for each in ("numpy", "torch", "ts.model_service_worker")
        if each in sys.modules
    },
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Libraries that note the priority that they are imported with, and programs that tell."""
    for name in ("torch", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"{SAYS}\nnice = niceness()\n")
    (tmp_path / "ts").mkdir()
    (tmp_path / "ts" / "__init__.py").touch()
    tells_or_notes = f"if __name__ == '__main__':{indent(WORKER, '    ')}else: nice = niceness()\n"
    for name in ("model_service_worker", "metric_collector"):
        (tmp_path / "ts" / f"{name}.py").write_text(SAYS + tells_or_notes)
    return tmp_path


def told(folder: Path, name: str, blas_threads: str = "1") -> dict[str, Any]:
    program = folder / "ts" / f"{name}.py"
    done = subprocess.run(
        [PROGRAM, program, "--sock-type", "unix"],
        env={**os.environ, "PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": blas_threads},
        capture_output=True,
        check=True,
    )
    said = dict(json.loads(done.stdout))
    assert said["name"] == "__main__"
    assert said["argv"] == [str(program), "--sock-type", "unix"]
    assert said["path"] == str(program.parent)
    return said


def test_imports_are_aside_and_what_serves_keeps_its_priority(folder: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    aside = min(own + NICE, 19)
    said = told(folder, "model_service_worker")
    assert said["nice"] == own
    assert said["imported"] == dict.fromkeys(("numpy", "torch", "ts.model_service_worker"), aside)


def test_numpy_is_not_imported_aside_when_it_starts_threads_that_serve(folder: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    imported = told(folder, "model_service_worker", blas_threads="2")["imported"]
    assert imported["numpy"] == own
    assert imported["torch"] == min(own + NICE, 19)


def test_another_program_runs_as_it_is(folder: Path) -> None:
    assert told(folder, "metric_collector")["imported"] == {}


LOGS = """
import logging, sys
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
logging.info("Backend received inference at: %d", 1)
logging.info("Connection accepted: %s.", "socket")
"""


def test_a_worker_does_not_log_that_each_batch_came(folder: Path) -> None:
    program = folder / "ts" / "model_service_worker.py"
    program.write_text(f"if __name__ == '__main__':{indent(LOGS, '    ')}")
    done = subprocess.run(
        [PROGRAM, program],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"Connection accepted: socket.\n"


CYCLE = """
import os, sys
class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self, write=os.write):
        write(1, b"collected")
sys.modules["keeps"] = Cycle()
"""


@pytest.mark.parametrize("triton", [False, True])
def test_only_bindings_that_want_it_have_all_collected_at_the_end(
    folder: Path, triton: bool
) -> None:
    program = folder / "ts" / "model_service_worker.py"
    with program.open("a") as file:
        file.write(CYCLE + ("sys.modules['triton'] = sys" if triton else ""))
    done = subprocess.run(
        [PROGRAM, program],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        check=True,
    )
    assert (b"collected" in done.stdout) == triton
