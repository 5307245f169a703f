"""Ctrl-C at each point of the demo leaves no process and no half-written file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import train_quickly, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run_folder(checkout: Path) -> Path | None:
    return next(iter(sorted((checkout / "runs" / "resnet").glob("*"), reverse=True)), None)


def _in_run(checkout: Path, name: str) -> bool:
    folder = _run_folder(checkout)
    return folder is not None and (folder / name).exists()


def _status(checkout: Path) -> str:
    file = checkout / "logs" / "serve.json"
    return json.loads(file.read_text())["status"] if file.exists() else ""


def _imports_torch(process: subprocess.Popen[bytes]) -> bool:
    return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()


# Each point builds on what the earlier ones left whole.
POINTS: dict[str, Callable[[Path, subprocess.Popen[bytes]], object]] = {
    "while it imports": lambda _, process: _imports_torch(process),
    "while it writes the images": lambda c, _: list((c / "data").glob(".digits.*.tmp")),
    "while it trains": lambda c, _: _run_folder(c),
    "while it exports": lambda c, _: _in_run(c, "metrics.json"),
    "while it archives": lambda c, _: _in_run(c, "parity.json"),
    "while the server starts": lambda c, _: _status(c) == "starting",
    "while it verifies": lambda c, _: _status(c) == "ready",
}


def _halves(checkout: Path) -> list[Path]:
    """List what is not whole: temporary names, JSON and archives that do not read."""
    halves = [
        p for top in ("data", "runs", "model_store") for p in (checkout / top).rglob(".*.tmp")
    ]
    for file in [*checkout.glob("runs/**/*.json"), *checkout.glob("model_store/*.json")]:
        try:
            json.loads(file.read_text())
        except ValueError:
            halves.append(file)
    archives = checkout.glob("model_store/*.mar")
    return halves + [file for file in archives if zipfile.ZipFile(file).testzip() is not None]


@pytest.mark.parametrize("point", POINTS)
def test_ctrl_c_leaves_nothing(point: str, checkout: Path, environment: dict[str, str]) -> None:
    train_quickly(checkout)
    (checkout / "logs" / "serve.json").unlink(missing_ok=True)
    process = subprocess.Popen(
        ["marina", "demo"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # as at a terminal: every process of the job gets the signal
    )
    try:
        wait_for(lambda: POINTS[point](checkout, process), process)
        psutil.Process(process.pid).send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=90)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, said.decode()
    assert b"Traceback" not in said, said.decode()
    assert [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(checkout)] == []
    assert _halves(checkout) == []
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
