"""The checked-in gRPC stubs are those of the installed TorchServe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROTO = ROOT / "marina" / "client" / "proto"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proto")
    script = ROOT / "scripts" / "generate_stubs.py"
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


def test_the_protos_are_those_in_the_jar(generated: Path) -> None:
    protos = sorted(path.name for path in generated.glob("*.proto"))
    assert protos == ["inference.proto", "management.proto"]
    for name in protos:
        assert (PROTO / name).read_bytes() == (generated / name).read_bytes(), name


def test_the_stubs_are_generated_from_them(generated: Path) -> None:
    stubs = sorted(path.name for path in generated.glob("*.py"))
    assert len(stubs) == 4
    for name in stubs:
        assert (PROTO / name).read_text() == (generated / name).read_text(), name
