"""scripts/train.py in float64, and without dropout, which each process draws for itself."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from marina.train import loop, training

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


def in_double(put: Callable[[object, str, Any], None]) -> None:
    """Change trainings by ``setattr`` or a monkeypatch's."""
    put(nn.Dropout, "forward", lambda _, inputs: inputs)
    for module, name in ((training, "build"), (loop, "normalize"), (loop, "objective")):
        put(module, name, _doubled(getattr(module, name)))


def _doubled(make: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given: make(*given).double()


if __name__ == "__main__":
    in_double(setattr)
    runpy.run_path(str(SCRIPT), run_name="__main__")
