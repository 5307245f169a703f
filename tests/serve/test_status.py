"""The status file, and who may write it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from marina.errors import ServeError
from marina.serve import ServeConfig
from marina.serve.status import StatusFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def status(tmp_path: Path) -> StatusFile:
    return StatusFile(tmp_path, ServeConfig(), list)


def leave(folder: Path, pid: int, state: str) -> Path:
    file = folder / "serve.json"
    file.write_text(json.dumps({"status": state, "pid": pid}))
    return file


def test_it_is_written_whole(status: StatusFile, tmp_path: Path) -> None:
    status.write("ready")
    assert [path.name for path in tmp_path.iterdir()] == ["serve.json"]
    content = json.loads((tmp_path / "serve.json").read_text())
    assert (content["status"], content["pid"]) == ("ready", os.getpid())
    assert content["urls"]["grpc"] == "127.0.0.1:7070"
    assert "error" not in content


def test_a_running_server_keeps_its_folder(status: StatusFile, tmp_path: Path) -> None:
    leave(tmp_path, os.getpid(), "draining")
    with pytest.raises(ServeError, match=f"in use by the server of process {os.getpid()}"):
        status.claim()


def test_a_stopped_server_does_not(status: StatusFile, tmp_path: Path) -> None:
    leave(tmp_path, os.getpid(), "stopped")
    status.claim()


def test_a_killed_server_does_not(status: StatusFile, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    leave(tmp_path, gone.pid, "ready")
    status.claim()


def test_a_process_that_got_the_pid_later_does_not(status: StatusFile, tmp_path: Path) -> None:
    file = leave(tmp_path, os.getpid(), "ready")
    long_ago = time.time() - 1_000_000
    os.utime(file, (long_ago, long_ago))
    status.claim()


def test_a_damaged_file_does_not(status: StatusFile, tmp_path: Path) -> None:
    (tmp_path / "serve.json").write_text("{")
    status.claim()
