"""A copy of the repository as a user has it, and ways to run its commands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marina.serve.java import java_home
from marina.serve.ports import VARIABLE, free_ports

REPO = Path(__file__).parents[2]
SERVED = ("REST", "GRPC", "MANAGEMENT", "GRPC_MANAGEMENT", "METRICS", "GATEWAY_METRICS")


def copy_repository(folder: Path) -> Path:
    """Copy the repository's own files into an empty folder, with this environment."""
    names = ["handlers", "models", "marina", "Makefile", "pyproject.toml", "uv.lock"]
    for name in [*names, "config.properties", "digit.png", "README.md", "model_store/.gitkeep"]:
        source, target = REPO / name, folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    (folder / ".venv" / "installed").touch()
    return folder


def train_quickly(checkout: Path) -> None:
    """Cut the demo's recipe to one epoch."""
    recipe = checkout / "models" / "resnet.yaml"
    text, count = re.subn(r"(?m)^  epochs: \d+", "  epochs: 1", recipe.read_text())
    assert count == 1
    recipe.write_text(text)


def port_variables() -> dict[str, str]:
    """Give free ports, and where a server of its own accord looks for others, as variables."""
    ports = zip(SERVED, free_ports(len(SERVED)), strict=True)
    named = {f"MARINA_{name}_PORT": str(port) for name, port in ports}
    return {**named, VARIABLE: os.environ[VARIABLE]}


def private_environment(temporary: Path) -> dict[str, str]:
    """Give free ports, a private temporary folder, Java, and the commands on the path."""
    return {
        **os.environ,
        **port_variables(),
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
        "JAVA_HOME": str(java_home()),
        "TMPDIR": str(temporary),
        "COLUMNS": "160",
    }


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait until the condition holds; fail when the process ends or two minutes pass first."""
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None:
            said = process.stdout.read().decode() if process.stdout else "see above"
            pytest.fail(f"it ended with {process.returncode}: {said}")
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return private_environment(tmp_path_factory.mktemp("tmp"))
