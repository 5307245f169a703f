"""Ctrl-C and SIGTERM: what they do depends on what the server is doing when they come."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

Phase = Literal["starting", "serving", "waiting", "stopping"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Handlers of SIGINT, SIGTERM and SIGHUP, from entry to exit; earlier ones are put back.

    Outside the main thread, where Python installs no handlers, it does nothing. A signal that is
    ignored stays ignored, as SIGHUP is under nohup.

    ===========  =====================================================================
    phase        a signal
    ===========  =====================================================================
    starting     is raised by the next `check`, so that no step is torn in two
    serving      is raised where the program is: it runs code that is not ours
    waiting      ends the wait, see `came`
    stopping     sets `forced`: stop at once
    ===========  =====================================================================

    SIGINT is raised as KeyboardInterrupt, the others as SystemExit(128 + number).

    Attributes:
        phase: What the server is doing.
        forced: A signal came while the server was stopping.
    """

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        self.forced = False
        self._came: int | None = None
        self._earlier: dict[signal.Signals, Any] = {}

    @property
    def came(self) -> bool:
        """Whether a signal came."""
        return self._came is not None

    def check(self) -> None:
        """Raise a signal that came.

        Raises:
            KeyboardInterrupt: It was SIGINT.
            SystemExit: It was SIGTERM or SIGHUP.
        """
        if self._came is not None:
            _raise(self._came)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._earlier[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        # Plain assignments alone: a lock might be held by the very code that was interrupted.
        self._came = number
        if self.phase == "stopping":
            self.forced = True
        elif self.phase == "serving":
            self.phase = "stopping"  # what is raised ends the block; a second signal hurries it
            _raise(number)


def _raise(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def exit_on_sigterm() -> None:
    """Let SIGTERM end a program as an exception does, so that blocks that hold a server end it."""
    signal.signal(signal.SIGTERM, lambda number, _: _raise(number))
