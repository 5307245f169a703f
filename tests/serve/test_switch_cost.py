"""What a switch costs those who are served meanwhile, in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("MARINA_FULL" not in os.environ, reason="it takes minutes: make test-full"),
]

SCRIPT = Path(__file__).parents[2] / "scripts" / "switch_cost.py"
MOST_TIMES_P99 = 5.0


@pytest.mark.parametrize("model", ["digits", "resnet18"])
def test_no_request_is_lost_or_much_slower(model: str) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--models", model, "--json"], stdout=subprocess.PIPE, check=True
    )
    (cost,) = json.loads(done.stdout)
    assert cost["errors"] == 0
    assert cost["ratio"] <= MOST_TIMES_P99, cost
