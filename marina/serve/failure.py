"""Why a model does not load, found in TorchServe's log.

TorchServe tells nobody: it restarts a worker that fails to load for minutes, and reports itself
healthy meanwhile. The log has the worker's own words.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from marina.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marina.serve.log import Line
    from marina.serve.served import Served

_TRACEBACK = "Traceback (most recent call last):"
_WORKER_END = "Backend worker process died."
_FAILED = re.compile(r"State change \S+ -> WORKER_(STOPPED|ERROR)")
_WORKER = re.compile(r"^W-\d+-")
_REGISTRATION = re.compile(r"Failed to load model: (?P<file>\S+)")

# TorchServe answers any ImportError of a handler by looking for a handler of its own of that name
# (ts/model_loader.py), and fails on that.
_MASK = "No module named 'ts.torch_handler"

# A message may have lines that are still to come, and what a worker says reaches the log through
# a thread of its own, a little after its death does.
_LAST_WORDS_S = 0.5
_LAST_LINES = 20


class FailureWatch:
    """Listens to the log while models load, and finds the first that fails.

    Args:
        models: By the name of their archive in the store.
    """

    def __init__(self, models: Mapping[str, Served]):
        self._models = models
        self._said: defaultdict[str, list[str]] = defaultdict(list)
        self._failed: dict[str, float] = {}
        self._refused: str | None = None
        self._refused_at = 0.0
        self._refusal: list[str] = []

    def __call__(self, line: Line) -> None:
        """Take a line of the log."""
        if line.source == "MODEL_LOG" and line.worker:
            self._said[line.worker].append(line.text)
        elif line.source == "WorkerThread" and line.worker and _FAILED.search(line.text):
            self._failed.setdefault(line.worker, time.monotonic())
        elif self._refused is None:
            found = _REGISTRATION.match(line.text)
            if found and line.source == "ModelServer":
                self._refused, self._refused_at = found["file"], time.monotonic()
        elif not line.source:
            self._refusal.append(line.text)

    def check(self) -> None:
        """Raise the first failure that the log has told of completely.

        Raises:
            ServeError: A model was refused or a worker died; the message has the cause in one
                line, ``details`` the worker's own first traceback.
        """
        told_since = time.monotonic() - _LAST_WORDS_S
        if self._refused is not None and self._refused_at < told_since:
            raise self._refused_model(self._refused)
        for worker, since in list(self._failed.items()):
            if since < told_since:
                raise self._dead_worker(worker)

    def traceback(self) -> str:
        """Give the first traceback that any worker has logged; empty if there is none yet."""
        said = list(self._said.values())  # the follower's thread may add a worker meanwhile
        return next(("\n".join(lines) for lines in map(first_traceback, said) if lines), "")

    def _refused_model(self, file: str) -> ServeError:
        reason = self._refusal[0].partition(": ")[2] if self._refusal else "it does not say why"
        model = self._models[file]
        return ServeError(f"TorchServe refuses {model}: {reason}", "\n".join(self._refusal))

    def _dead_worker(self, worker: str) -> ServeError:
        model = self._model(worker)
        said = self._said[worker]
        traceback = first_traceback(said)
        if traceback:
            return ServeError(
                f"{model} does not start: {cause(traceback)}", details="\n".join(traceback)
            )
        return ServeError(
            f"{model} does not start: its worker died without a traceback. Was it killed for want "
            "of memory?",
            details="\n".join(said[-_LAST_LINES:]),
        )

    def _model(self, worker: str) -> str:
        name = _WORKER.sub("", worker)
        models = self._models.values()
        return next((str(m) for m in models if f"{m.name}_{m.version}" == name), worker)


def first_traceback(lines: list[str]) -> list[str]:
    """Give the lines of the first traceback, the chain of its causes included."""
    if _TRACEBACK not in lines:
        return []
    start = lines.index(_TRACEBACK)
    rest = lines[start:]
    end = next((i for i, line in enumerate(rest) if line.startswith(_WORKER_END)), len(rest))
    return rest[:end]


def cause(traceback: list[str]) -> str:
    """Give the one line of a traceback that says what is wrong.

    It is the last exception of a chain, but for the one that masks a failed import.
    """
    exceptions = []
    expected = False
    for line in traceback:
        if line == _TRACEBACK:
            expected = True
        elif expected and line and not line.startswith(" "):
            exceptions.append(line)
            expected = False
    plain = [line for line in exceptions if _MASK not in line] or exceptions
    return plain[-1] if plain else traceback[-1]
