"""What a worker logs is one line for each event; in a process of its own, as a worker is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]
WORKER = """
import logging, sys, warnings
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
from handlers.log import log_in_lines
log_in_lines()
logger = logging.getLogger("handlers.x")
logger.info("%s ready", "resnet")
logger.warning("one\\ntwo")
try:
    {}["key"]
except KeyError:
    logger.exception("a batch failed")
warnings.warn("of old", FutureWarning)
"""


def test_each_event_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "worker.py"
    file.write_text(WORKER)
    worker = subprocess.run(
        [sys.executable, file], capture_output=True, text=True, check=True, cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    plain, *several = worker.stdout.splitlines()
    assert (plain, worker.stderr) == ("resnet ready", "")
    two, failed, warned = map(json.loads, several)
    assert two == {
        "event": "log", "level": "WARNING", "source": "handlers.x", "message": "one\ntwo"
    }  # fmt: skip
    assert failed["message"] == "a batch failed"
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert failed["exception"].endswith("KeyError: 'key'")
    assert (warned["source"], warned["level"]) == ("py.warnings", "WARNING")
    assert "FutureWarning: of old" in warned["message"]
