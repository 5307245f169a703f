"""The locustfile without Marina around it, and Marina without Locust in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from marina.serve.ports import free_ports

from .conftest import Stub

LOCUSTFILE = Path(__file__).parents[2] / "marina" / "bench" / "locustfile.py"


COMMAND = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "RestUser", "--headless"]


def locust(*words: str) -> None:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr


def test_plain_locust_records_every_request(stub: Stub, image: Path, tmp_path: Path) -> None:
    record = tmp_path / "samples.json"
    words = ["-u", "1", "-t", "10s", "--images", str(image.parent), "--record", str(record)]
    locust(*words, "--host", stub(), "--arrival-rate", "20")
    samples = json.loads(record.read_text())
    assert 5 <= len(samples["start_s"]) <= 205  # Locust takes its time to begin
    assert set(samples["status"]) == {200}


def test_a_request_that_locust_cuts_at_its_end_is_no_failure(
    stub: Stub, image: Path, tmp_path: Path
) -> None:
    """Locust's exit code would be 1."""
    record = tmp_path / "samples.json"
    words = ["-u", "2", "-t", "6s", "--images", str(image.parent), "--record", str(record)]
    locust(*words, "--host", stub(700))
    assert set(json.loads(record.read_text())["status"]) == {200}


def test_workers_report_every_request_to_the_master(
    stub: Stub, image: Path, tmp_path: Path
) -> None:
    record = tmp_path / "samples.json"
    words = ["-u", "2", "-t", "8s", "--images", str(image.parent), "--host", stub(20)]
    port = str(free_ports(1)[0])
    worker = subprocess.Popen([*COMMAND[:-1], "--worker", "--master-port", port, *words])
    try:
        words += ["--record", str(record)]
        locust("--master", "--expect-workers", "1", "--master-bind-port", port, *words)
    finally:
        worker.kill()
        worker.wait()
    assert len(json.loads(record.read_text())["start_s"]) >= 5


def test_marina_never_imports_locust() -> None:
    """Importing it patches the sockets and threads of the whole process."""
    program = """
import importlib, pkgutil, sys
import marina.bench, marina.cli, marina.display.bench
for module in pkgutil.iter_modules(marina.bench.__path__):
    if module.name not in ("agent", "locustfile", "inprocess", "handler"):
        importlib.import_module(f"marina.bench.{module.name}")
assert not {"locust", "gevent"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
