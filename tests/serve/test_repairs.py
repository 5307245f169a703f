"""What the supervisor does about one failed call, with everything around it made up."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from marina.errors import ServeError
from marina.serve.supervisor import Supervisor


class Keys:
    """Tokens whose renewal fails once."""

    def __init__(self) -> None:
        self.tries = 0

    def renew_if_old(self, _: str) -> bool:
        self.tries += 1
        if self.tries == 1:
            raise ServeError("TorchServe does not renew its tokens: it took too long")
        return True


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def engine() -> Any:
    return SimpleNamespace(
        is_running=True,
        keys=Keys(),
        management=SimpleNamespace(answers=True),
        config=SimpleNamespace(management_url="http://127.0.0.1:9"),
    )


@pytest.fixture
def supervisor(engine: Any, events: list[str]) -> Supervisor:
    fleet: Any = SimpleNamespace(all=list)
    health: Any = SimpleNamespace(stuck=list)
    nobody: Any = SimpleNamespace()
    return Supervisor(engine, fleet, health, nobody, None, lambda: None, events.append)


def test_tokens_that_are_not_renewed_are_renewed_the_next_time(
    supervisor: Supervisor, engine: Any, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marina.serve.supervisor._EVERY_S", 0.0)
    monkeypatch.setattr("marina.serve.supervisor._RENEW_EVERY_S", 0.0)
    supervisor.step()
    supervisor.step()
    assert engine.keys.tries == 2
    assert "does not renew its tokens" in events[0]
    assert events[1:] == ["the tokens were renewed"]


def test_one_failure_long_after_the_start_is_not_deafness(
    supervisor: Supervisor, engine: Any
) -> None:
    late_s = time.monotonic() + 1000
    engine.management.answers = False
    assert supervisor._is_heard(late_s)
    assert supervisor._is_heard(late_s + 29)
    assert not supervisor._is_heard(late_s + 31)
    engine.management.answers = True
    assert supervisor._is_heard(late_s + 32)
    engine.management.answers = False
    assert supervisor._is_heard(late_s + 40)
