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
from marina.serve.activity import STOPPED, label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marina.serve.log import Line
    from marina.serve.served import Served

_TRACEBACK = "Traceback (most recent call last):"
_WORKER_END = "Backend worker process died."
_WORKER = re.compile(r"^W-\d+-")

# TorchServe answers any ImportError of a handler by looking for a handler of its own of that name
# (ts/model_loader.py), and fails on that.
_MASK = "No module named 'ts.torch_handler"

# What a worker says reaches the log through a thread of its own, a little after its death does, and
# seconds after it on a busy machine. One that was killed says nothing.
_LAST_WORDS_S = 3.0
_LAST_LINES = 20


class FailureWatch:
    """Listens to the log while models load, and finds the first that fails.

    Args:
        models: Those that load; what is said of others is passed over.
    """

    def __init__(self, models: Iterable[Served]):
        self._models = {label(model.name, model.version): model for model in models}
        self._said: defaultdict[str, list[str]] = defaultdict(list)
        self._failed: dict[str, float] = {}

    def __call__(self, line: Line) -> None:
        """Take a line of the log."""
        if line.worker is None or self._model(line.worker) is None:
            return
        if line.source == "MODEL_LOG":
            self._said[line.worker].extend(line.lines)
        elif line.source == "WorkerThread" and STOPPED.search(line.text):
            self._failed.setdefault(line.worker, time.monotonic())

    def check(self) -> None:
        """Raise the first failure that the log has told of completely.

        Raises:
            ServeError: A worker died; the message has the cause in one line, ``details`` the
                worker's own first traceback.
        """
        for worker, since in list(self._failed.items()):
            has_said_all = any(line.startswith(_WORKER_END) for line in self._said[worker])
            if has_said_all or time.monotonic() - since > _LAST_WORDS_S:
                raise self._dead_worker(worker)

    def traceback(self) -> str:
        """Give the first traceback that any worker has logged; empty if there is none yet."""
        said = list(self._said.values())  # the follower's thread may add a worker meanwhile
        return next(("\n".join(lines) for lines in map(first_traceback, said) if lines), "")

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

    def _model(self, worker: str) -> Served | None:
        return self._models.get(_WORKER.sub("", worker))


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
