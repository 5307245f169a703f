"""The private folder, and the sweeping of abandoned ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from marina.errors import ServeError
from marina.serve.served import Served
from marina.serve.workspace import PREFIX, Workspace, sweep
from tests.serve.archives import make_archive

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of the test's own; pytest's has too long a path for sockets."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    return gone.pid


def abandoned(temporary: Path, pid: int) -> Path:
    folder = temporary / f"{PREFIX}{pid}-abc"
    (folder / "tmp" / "models").mkdir(parents=True)
    return folder


def test_it_goes_with_all_that_is_in_it(temporary: Path) -> None:
    workspace = Workspace.create()
    (workspace.temporary / "models").mkdir()
    workspace.remove()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_server_left_is_swept(temporary: Path, dead_pid: int) -> None:
    folder = abandoned(temporary, dead_pid)
    program = "import time; time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", program, folder / "tmp" / ".ts.sock"]) as worker:
        sweep()
        assert not psutil.pid_exists(worker.pid)
    assert not folder.exists()


def test_what_is_in_use_is_not(temporary: Path) -> None:
    workspace = Workspace.create()
    sweep()
    assert workspace.store.is_dir()
    workspace.remove()


def test_what_another_container_uses_is_not(temporary: Path, dead_pid: int) -> None:
    """There its process has a pid that means nothing here; but the lock is held."""
    workspace = Workspace.create()
    moved = workspace.folder.rename(temporary / f"{PREFIX}{dead_pid}-abc")
    sweep()
    assert moved.is_dir()
    workspace.remove()


def test_what_others_made_is_not(temporary: Path) -> None:
    (temporary / f"{PREFIX}notes").mkdir()
    sweep()
    assert (temporary / f"{PREFIX}notes").is_dir()


def test_a_path_too_long_for_a_socket(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = temporary / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(ServeError, match="too long a path for the workers' sockets: set TMPDIR"):
        Workspace.create()
    assert list(long.iterdir()) == []


def test_an_archive_comes_and_goes_unpacked(temporary: Path) -> None:
    model = Served.read(make_archive(temporary))
    workspace = Workspace.create()
    first, second = workspace.admit(model), workspace.admit(model)
    assert first != second
    assert (workspace.store / first / "MAR-INF" / "MANIFEST.json").is_file()
    workspace.dismiss(first)
    assert [folder.name for folder in workspace.store.iterdir()] == [second]
    workspace.remove()


def test_nothing_is_left_of_an_archive_that_cannot_be_unpacked(temporary: Path) -> None:
    model = Served.read(make_archive(temporary))
    raw = model.file.read_bytes()
    half = len(raw) // 2
    model.file.write_bytes(raw[:half] + bytes(100) + raw[half + 100 :])
    workspace = Workspace.create()
    with pytest.raises(ServeError, match=r"cannot unpack .*stub"):
        workspace.admit(model)
    assert list(workspace.store.iterdir()) == []
    workspace.remove()


def test_a_folder_that_another_removes_meanwhile_is_no_error(
    temporary: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = abandoned(temporary, dead_pid)

    def remove(_: int) -> bool:
        shutil.rmtree(folder)
        return False

    monkeypatch.setattr(psutil, "pid_exists", remove)
    sweep()
    assert list(temporary.iterdir()) == []
