"""What TorchServe and its workers get from Marina's own environment."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from marina.serve.torchserve import _environment

WORKSPACE = SimpleNamespace(temporary=Path("/t"), parking=Path("/p"))


def test_workers_threads_wait_without_spinning_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert _environment(WORKSPACE)["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert _environment(WORKSPACE)["OMP_WAIT_POLICY"] == "ACTIVE"
