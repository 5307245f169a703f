"""The table of faults names tests that are there."""

from __future__ import annotations

import ast
import importlib.util
import sys
import types
from collections import Counter
from pathlib import Path

import httpx
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
    seen.requests.append(Counter(sent=1))
    assert not seen.is_survived
    seen.requests[0]["answered"] = 1
    assert seen.is_survived
    seen.outcomes["failed"] = 1
    assert not seen.is_survived


def test_a_request_is_booked_to_the_test_that_sent_it() -> None:
    """Also where it ends during the next one; a late one hangs, an unheard one was never sent."""
    suite = script.Suite()
    first = suite._now
    book = suite.sent()
    suite._now = Counter()
    book("answered")
    assert first == {"sent": 1, "answered": 1}

    def send(error: Exception) -> None:
        def fail() -> None:
            raise error

        with pytest.raises(type(error)):
            suite.counted(fail)()

    send(httpx.ReadTimeout("late"))
    send(httpx.ConnectError("nobody listens"))
    send(httpx.RemoteProtocolError("cut"))
    assert +suite._now == {"sent": 2, "cut": 1}


def test_what_a_server_asks_itself_is_not_counted() -> None:
    suite = script.Suite()
    module = types.ModuleType("marina.serve.health")
    exec("def ask(send): return send()", vars(module))
    assert vars(module)["ask"](suite.counted(lambda: 3)) == 3
    assert not suite._now
    suite.counted(lambda: 3)()
    assert suite._now == {"sent": 1, "answered": 1}
