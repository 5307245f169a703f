"""Signals, sent to a program that serves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from marina.client import Client
from marina.errors import ConnectionFailed
from marina.serve.workspace import sweep

from .archives import make_archive
from .conftest import assert_nothing_left, free_config, processes_of, wait_until, workspaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("program.py")


class Program:
    """A run of ``program.py``."""

    def __init__(self, folder: Path, mode: str, file: Path):
        config = free_config(folder)
        ports = [p for _, p in config.listeners.values()]
        names = ("rest_port", "grpc_port", "management_port")
        assert [getattr(config, name) for name in names] == ports[:3]
        self.rest_url = config.rest_url
        self.status_file = folder / "logs" / "serve.json"
        self.output = folder / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, PROGRAM, ",".join(map(str, ports))),
                    *(folder / "logs", mode, file),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self.process.pid

    def said(self, text: str) -> bool:
        return any(line.startswith(text) for line in self.output.read_text().splitlines())

    def wait_for(self, text: str) -> None:
        wait_until(lambda: self.said(text) or self.process.poll() is not None, timeout_s=40)
        assert self.said(text), self.output.read_text()

    def status(self) -> str:
        return str(json.loads(self.status_file.read_text())["status"])


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short temporary folder of the test's own, which no other test's server sweeps."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield


@pytest.fixture
def start(tmp_path: Path, temporary: None) -> Iterator[Callable[..., Program]]:
    programs = []

    def begin(mode: str = "wait", **archive: object) -> Program:
        programs.append(Program(tmp_path, mode, make_archive(tmp_path, **archive)))  # type: ignore[arg-type]
        return programs[-1]

    yield begin
    for program in programs:
        program.process.kill()
        program.process.wait()
    sweep()


def test_sigterm_answers_what_is_in_flight(start: Callable[..., Program]) -> None:
    """Slow requests, more than there are workers: most of them wait in the queue."""
    program = start(minWorkers=2, maxWorkers=2, batchSize=2, maxBatchDelay=50)
    program.wait_for("ready")
    bodies = [b"sleep 4", *[b"sleep 0.5"] * 23]
    with ThreadPoolExecutor(len(bodies)) as pool, Client(program.rest_url) as client:
        answers = [pool.submit(client.predict, body, model="stub") for body in bodies]
        time.sleep(0.5)
        program.process.send_signal(signal.SIGTERM)
        program.wait_for("draining")
        assert program.status() == "draining"
        labels = [answer.result(timeout=30)[0].label for answer in answers]
    assert labels == ["class 1"] * len(bodies)
    assert program.process.wait(timeout=20) == 0
    assert program.status() == "stopped"
    assert_nothing_left(program.pid)


def test_sigkill_leaves_no_process_and_the_next_start_sweeps(start: Callable[..., Program]) -> None:
    program = start()
    program.wait_for("ready")
    assert len(processes_of(program.pid)) == 2  # Java and a worker
    program.process.kill()
    program.process.wait()
    wait_until(lambda: not processes_of(program.pid), timeout_s=10)
    assert len(workspaces(program.pid)) == 1
    sweep()
    assert_nothing_left(program.pid)


def test_sigkill_leaves_no_worker_that_hangs(start: Callable[..., Program]) -> None:
    """It reads nothing of TorchServe's end until it has answered."""
    program = start()
    program.wait_for("ready")
    with ThreadPoolExecutor(1) as pool, Client(program.rest_url) as client:
        pending = pool.submit(client.predict, b"sleep 60", model="stub")
        time.sleep(1)
        assert not pending.done()
        program.process.kill()
        program.process.wait()
        assert isinstance(pending.exception(), ConnectionFailed)
    wait_until(lambda: not processes_of(program.pid), timeout_s=10)


@pytest.mark.parametrize("delay_s", [0.0, 1.0, 3.0])
def test_ctrl_c_during_the_start_leaves_nothing(
    start: Callable[..., Program], delay_s: float
) -> None:
    program = start(stub={"load_s": 60})
    program.wait_for("starting")
    time.sleep(delay_s)
    program.process.send_signal(signal.SIGINT)
    assert program.process.wait(timeout=5) == 130
    assert program.said("interrupted")
    assert not program.said("draining")
    assert program.status() == "stopped"
    assert_nothing_left(program.pid)


def test_ctrl_c_is_heard_while_a_model_hangs_on_its_golden_image(
    start: Callable[..., Program],
) -> None:
    program = start(stub={"answer_s": 60})
    program.wait_for("stub 1.0: 1 of 1 workers loaded")
    time.sleep(1)
    program.process.send_signal(signal.SIGINT)
    assert program.process.wait(timeout=5) == 130
    assert_nothing_left(program.pid)


def test_a_second_ctrl_c_stops_at_once(start: Callable[..., Program]) -> None:
    program = start(mode="work")
    program.wait_for("ready")
    with ThreadPoolExecutor(1) as pool, Client(program.rest_url) as client:
        pending = pool.submit(client.predict, b"sleep 15", model="stub")
        time.sleep(0.5)
        program.process.send_signal(signal.SIGINT)
        program.wait_for("draining")
        time.sleep(1)
        assert program.process.poll() is None
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(timeout=3) == 130
        assert isinstance(pending.exception(), ConnectionFailed)
    assert program.said("requests in flight are given up: forced")
    assert_nothing_left(program.pid)
