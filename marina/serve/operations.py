"""One operation at a time, and what became of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from marina.errors import MarinaError, OperationRefused, ServeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Tell = Callable[[str], None]

# An operation that nobody waits for is still waited for so long: what is refused is refused now.
_REFUSAL_S = 0.5


@dataclass(frozen=True)
class Report:
    """How an operation stands.

    Attributes:
        title: What it does.
        state: Whether it is done.
        step: What it does now, or did last.
        error: Why it failed.
        details: What lies behind the error, such as a worker's own traceback.
    """

    title: str
    state: Literal["running", "done", "failed"]
    step: str = ""
    error: str | None = None
    details: str = ""


class Operations:
    """Runs operations, each by itself.

    Args:
        on_event: Called with a line for each step.

    Attributes:
        last: The one that runs or ran last; None if there was none yet.
    """

    def __init__(self, on_event: Tell):
        self.last: Report | None = None
        self._on_event = on_event
        self._turn = threading.Lock()
        self._keeper = ""

    @property
    def is_busy(self) -> bool:
        """Whether an operation runs."""
        return self._turn.locked()

    def run(self, title: str, work: Callable[[Tell], None], *, wait: bool) -> Report:
        """Run an operation.

        Args:
            title: What it does.
            work: Does it; given what to call with each step.
            wait: Return when it is done, not when it is under way.

        Returns:
            How it stands.

        Raises:
            OperationRefused: Another one runs.
            MarinaError: It failed, with its own error.
        """
        if not self._turn.acquire(blocking=False):
            busy = self.last.title if self.last else self._keeper
            raise OperationRefused(f"{busy} is under way: try again when it is done")
        self.last = Report(title, "running")
        failure: list[MarinaError] = []
        thread = threading.Thread(
            target=self._work, args=(title, work, failure), name=title, daemon=True
        )
        thread.start()
        thread.join(None if wait else _REFUSAL_S)
        if failure:
            raise failure[0]
        return self.last

    @contextmanager
    def kept_out(self, keeper: str) -> Iterator[None]:
        """Let no operation run during a block; one that runs is waited for.

        Args:
            keeper: What the block does, for those who are refused meanwhile.
        """
        with self._turn:
            self.last, self._keeper = None, keeper
            yield

    def _work(self, title: str, work: Callable[[Tell], None], failure: list[MarinaError]) -> None:
        def tell(step: str) -> None:
            self.last = Report(title, "running", step)
            self._on_event(step)

        try:
            work(tell)
            step = self.last.step if self.last else ""
            self.last = Report(title, "done", step)
        except Exception as err:
            known = err if isinstance(err, MarinaError) else ServeError(f"{title}: {err!r}")
            failure.append(known)
            details = str(getattr(err, "details", ""))
            self.last = Report(title, "failed", error=str(known), details=details)
            self._on_event(f"{title} failed: {known}")
        finally:
            self._turn.release()
