"""The table of faults names tests that are there."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("faults_script", TESTS.parent / "scripts/faults.py")
assert SPEC is not None
assert SPEC.loader is not None
script = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = script  # its dataclasses look themselves up
SPEC.loader.exec_module(script)


@pytest.mark.parametrize("test", [test for *_, tests in script.FAULTS for test in tests])
def test_each_fault_has_its_test(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((TESTS / path).read_text())
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert any(function.startswith(name or "test_") for function in functions)


def test_a_request_that_does_not_end_is_a_failure() -> None:
    seen = script.Seen()
    seen.outcomes["passed"] = 1
    assert seen.is_survived
    seen.requests["sent"] = 1
    assert not seen.is_survived
    seen.requests["answered"] = 1
    assert seen.is_survived
    seen.outcomes["failed"] = 1
    assert not seen.is_survived
