"""What workers do, as TorchServe's log tells it: who holds a batch, and who was given up."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marina.serve.log import Line

# Those that were told to stop pass through another state.
STOPPED = re.compile(r"State change (?!WORKER_SCALED_DOWN)\S+ -> WORKER_(STOPPED|ERROR)")
_CHANGE = re.compile(r"(?P<worker>W-\d+-\S+) State change ")
_WORKER = re.compile(r"^W-\d+-")

# Between a worker's death and the line that says when it is tried again lie milliseconds.
_RETRY_IS_SAID_S = 1.0


def label(name: str, version: str) -> str:
    """Give what TorchServe calls a version in the names of its workers."""
    return f"{name}_{version}"


class Activity:
    """Listens to the log, and knows which workers hold a batch and which have died."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._batches: Counter[str] = Counter()
        self._stopped: dict[str, float] = {}

    def __call__(self, line: Line) -> None:
        """Take a line of the log."""
        if line.source != "WorkerThread":
            return
        changed = _CHANGE.match(line.text)
        if changed:  # any thread may say it
            self._change(changed["worker"], line.text)
        elif line.worker is None:
            return
        elif line.text.startswith("Flushing req.cmd PREDICT"):
            self._busy.add(line.worker)
            self._batches[_WORKER.sub("", line.worker)] += 1
        elif line.text.startswith("Backend response time"):
            self._busy.discard(line.worker)
        elif line.text.startswith("Retry worker"):
            self._stopped.pop(line.worker, None)

    def _change(self, worker: str, text: str) -> None:
        self._busy.discard(worker)
        self._stopped.pop(worker, None)
        if STOPPED.search(text):
            self._stopped[worker] = time.monotonic()

    @property
    def busy(self) -> int:
        """Number of workers that hold a batch."""
        return len(self._busy)

    @property
    def batches(self) -> int:
        """Number of batches taken so far."""
        return self._batches.total()

    def of(self, name: str, version: str) -> VersionActivity:
        """Give what the workers of one version do."""
        return VersionActivity(self, label(name, version))

    def forget(self) -> None:
        """Forget all workers, since their TorchServe has ended."""
        self._busy.clear()
        self._stopped.clear()


@dataclass(frozen=True)
class VersionActivity:
    """What the workers of one version do."""

    _all: Activity
    _label: str

    @property
    def busy(self) -> int:
        """Number of its workers that hold a batch."""
        return sum(_WORKER.sub("", each) == self._label for each in list(self._all._busy))  # noqa: SLF001 - a view of it

    @property
    def batches(self) -> int:
        """Number of batches that they took so far."""
        return self._all._batches[self._label]  # noqa: SLF001

    @property
    def given_up(self) -> int:
        """Number of its workers that died and that TorchServe tries no more."""
        said_by = time.monotonic() - _RETRY_IS_SAID_S
        stopped = list(self._all._stopped.items())  # noqa: SLF001 - the log's thread may add one
        return sum(at < said_by and _WORKER.sub("", w) == self._label for w, at in stopped)
