"""The launcher stays light: torch is the workers' business."""

from __future__ import annotations

import subprocess
import sys


def test_serving_imports_no_torch() -> None:
    program = "import sys, marina.serve; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert {"torch", "torchvision", "numpy", "ts"}.isdisjoint(modules)
