"""Starts that cannot succeed end within seconds, and say why."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from marina.errors import ServeError
from marina.serve import ServeConfig, resolve, running

from .archives import make_archive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_left")]

# Importing torch, and a bit; TorchServe itself would retry for 40 s and more.
LIMIT_S = 25


@pytest.fixture
def refused(config: ServeConfig, tmp_path: Path) -> Callable[..., ServeError]:
    """Start an archive that cannot be served, and give the error."""

    def refuse(**archive: Any) -> ServeError:
        file = make_archive(tmp_path, **archive)
        started = time.monotonic()
        with (
            pytest.raises(ServeError) as caught,
            running(config, resolve([str(file)], tmp_path), log_dir=tmp_path / "logs"),
        ):
            pass
        assert time.monotonic() - started < LIMIT_S
        status = json.loads((tmp_path / "logs" / "serve.json").read_text())
        assert (status["status"], status["error"]) == ("stopped", str(caught.value))
        return caught.value

    return refuse


def test_a_handler_that_raises(refused: Callable[..., ServeError]) -> None:
    error = refused(stub={"fail": "the weights are\nof another model"})
    assert str(error) == "stub 1.0 does not start: ValueError: the weights are"
    lines = error.details.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert '    raise ValueError(self.config["fail"])' in lines
    assert lines[-2:] == ["ValueError: the weights are", "of another model"]


def test_a_traceback_is_one_event_of_the_log(
    refused: Callable[..., ServeError], tmp_path: Path
) -> None:
    """Of a handler that logs as Marina's own does; what a person is shown is as above."""
    source = "from handlers.log import log_in_lines\nlog_in_lines()\nclass H:\n"
    source += (
        "    def initialize(self, c):\n        raise ValueError('the weights are\\nof another')\n"
    )
    error = refused(handler=source + "    def handle(self, d, c):\n        pass\n")
    assert str(error) == "stub 1.0 does not start: ValueError: the weights are"
    assert error.details.splitlines()[-2:] == ["ValueError: the weights are", "of another"]
    events = map(json.loads, (tmp_path / "logs" / "torchserve.log").read_text().splitlines())
    said = [event["message"] for event in events if event["source"] == "MODEL_LOG"]
    tracebacks = [json.loads(text) for text in said if "weights" in text]
    assert tracebacks
    for traceback in tracebacks:
        assert (traceback["level"], traceback["source"]) == ("ERROR", "root")
        assert traceback["message"] == "Backend worker process died."
        assert traceback["exception"].startswith("Traceback (most recent call last):\n")
    assert not any(text.startswith(("Traceback", "  File")) for text in said)


def test_a_handler_with_a_syntax_error(refused: Callable[..., ServeError]) -> None:
    error = refused(handler="class Handler:\n    def initialize(self, context:\n")
    assert str(error) == "stub 1.0 does not start: SyntaxError: '(' was never closed"
    assert "entry.py" in error.details


def test_a_handler_whose_import_fails(refused: Callable[..., ServeError]) -> None:
    """TorchServe masks it: No module named 'ts.torch_handler.entry'."""
    error = refused(handler="import no_such_module\n")
    assert str(error) == (
        "stub 1.0 does not start: ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_an_error_that_torchserve_answers_itself(refused: Callable[..., ServeError]) -> None:
    """A RuntimeError while loading is logged twice; the second time without its cause."""
    source = "class H:\n    def initialize(self, c):\n        raise RuntimeError('of old')\n"
    error = refused(handler=source + "    def handle(self, d, c):\n        pass\n")
    assert str(error) == "stub 1.0 does not start: RuntimeError: of old"
    assert "Unknown exception" not in error.details


def test_a_wrong_answer(refused: Callable[..., ServeError]) -> None:
    error = refused(golden_logits=(5.0, 0.0, 0.0))
    assert str(error) == (
        "stub 1.0 is refused: over REST it answers its golden image 0.png with 'class 1' at "
        "0.909; the lab says 'class 0' at 0.987. Archive the model again"
    )


def test_an_answer_that_fails(refused: Callable[..., ServeError]) -> None:
    error = refused(stub={"logits": ["no number"]})
    assert "does not answer its golden image 0.png over REST: Prediction failed" in str(error)
    assert "TypeError: must be real number, not str" in error.details


def test_an_archive_that_torchserve_refuses(refused: Callable[..., ServeError]) -> None:
    error = refused(runtime="cobol")
    assert str(error) == "TorchServe refuses stub 1.0: Runtime is not defined or invalid."
    assert "InvalidModelException" in error.details
