"""The one line that says what is wrong, out of a traceback."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from marina.errors import ServeError
from marina.serve.failure import FailureWatch, cause, first_traceback
from marina.serve.log import Line

HEAD = "Traceback (most recent call last):"
FRAME = ['  File "x.py", line 1, in f', "    f()", "    ^^^"]
DURING = ["", "During handling of the above exception, another exception occurred:", ""]


def test_it_is_the_first_traceback_with_its_causes() -> None:
    chain = [HEAD, *FRAME, "KeyError: 'a'", *DURING, HEAD, *FRAME, "ValueError: b"]
    said = ["Listening", *chain, "Backend worker process died.", HEAD, *FRAME, "RuntimeError: 500"]
    assert first_traceback(said) == chain


def test_there_may_be_none() -> None:
    assert first_traceback(["Killed"]) == []


def test_the_cause_is_the_last_of_a_chain() -> None:
    chain = [HEAD, *FRAME, "KeyError: 'a'", *DURING, HEAD, *FRAME, "ValueError: b", "and more"]
    assert cause(chain) == "ValueError: b"


def test_but_not_where_torchserve_masks_a_failed_import() -> None:
    mask = "ModuleNotFoundError: No module named 'ts.torch_handler.entry'"
    chain = [HEAD, *FRAME, "ImportError: a", *DURING, HEAD, *FRAME, mask]
    assert cause(chain) == "ImportError: a"


def test_a_handler_that_is_not_there_at_all() -> None:
    mask = "ModuleNotFoundError: No module named 'ts.torch_handler.entry'"
    assert cause([HEAD, *FRAME, mask]) == mask


def test_a_traceback_is_heard_to_its_end() -> None:
    """However long it takes to come: a busy machine's log lags."""
    model: Any = SimpleNamespace(name="stub", version="1.0")
    watch = FailureWatch([model])

    def say(*lines: str) -> None:
        for line in lines:
            watch(Line("W-9000-stub_1.0-stdout", "MODEL_LOG", line, line))

    say(HEAD, *FRAME)
    stopped = "W-9000-stub_1.0 State change WORKER_ERROR -> WORKER_STOPPED"
    watch(Line("W-9000-stub_1.0", "WorkerThread", stopped, stopped))
    watch.check()
    say("ValueError: b", "Backend worker process died.")
    with pytest.raises(ServeError, match="ValueError: b"):
        watch.check()
