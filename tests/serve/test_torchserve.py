"""What TorchServe and its workers get from Marina's own environment."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from marina.serve.torchserve import _environment

WORKSPACE = SimpleNamespace(temporary=Path("/t"), parking=Path("/p"))


@pytest.mark.parametrize(
    ("name", "ours", "given"),
    [
        ("OMP_WAIT_POLICY", "PASSIVE", "ACTIVE"),
        ("GOMP_SPINCOUNT", "5000", "0"),
        ("OPENBLAS_NUM_THREADS", "1", "4"),
    ],
)
def test_workers_threads_leave_the_cores_alone_unless_told(
    monkeypatch: pytest.MonkeyPatch, name: str, ours: str, given: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    assert _environment(WORKSPACE)[name] == ours
    monkeypatch.setenv(name, given)
    assert _environment(WORKSPACE)[name] == given
