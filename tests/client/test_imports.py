"""The client stays light."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"torch", "torchvision", "numpy", "PIL", "pydantic", "yaml"}


def imported() -> set[str]:
    program = "import sys, marina.client; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    return set(subprocess.check_output(command, text=True).split())


def test_the_client_imports_nothing_heavy() -> None:
    assert HEAVY.isdisjoint(imported())


def test_the_client_imports_no_other_part() -> None:
    ours = {name for name in imported() if name.partition(".")[0] in {"marina", "handlers"}}
    others = {name for name in ours if not name.startswith("marina.client")}
    assert others == {"marina", "marina.errors"}
