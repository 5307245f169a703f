"""What is done when something of a running server breaks, and when to give up.

======================================  =======================================================
what broke                              what is done
======================================  =======================================================
TorchServe ended                        it is started anew with all that is served
TorchServe's management is deaf         it is killed, and so started anew
the gateway's Envoy ended               it is started anew, with its splits
a worker died                           nothing: TorchServe starts it again, within its own
                                        window (``maxRetryTimeoutInSec``)
a worker died and its window is over    it is brought back
a version hangs on its golden image     its workers are killed, and so started anew
the tokens near their end               they are renewed, and again if that fails
======================================  =======================================================

More repairs than `MOST_REPAIRS` within `REPAIRS_WINDOW_S` end the server: what breaks so often
needs a person. A restart that fails is tried again, and counted again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

from marina.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from marina.serve.engine import Engine
    from marina.serve.fleet import Fleet
    from marina.serve.front import Front
    from marina.serve.health import Health
    from marina.serve.operations import Operations
    from marina.serve.served import Served
    from marina.serve.state import VersionState

MOST_REPAIRS = 5
REPAIRS_WINDOW_S = 600.0

_EVERY_S = 0.5
_DEAF_S = 30.0
_RENEW_EVERY_S = 10.0


class Supervisor:
    """Keeps a server as it shall be.

    Args:
        engine: What is repaired.
        fleet: What shall be served.
        health: Tells what hangs.
        operations: Kept out during repairs.
        front: The gateway; None if there is none.
        check: Called during repairs; raises what makes them vain.
        on_event: Called with a line for each repair.

    Attributes:
        repairs: How often what was repaired.
    """

    def __init__(
        self,
        engine: Engine,
        fleet: Fleet,
        health: Health,
        operations: Operations,
        front: Front | None,
        check: Callable[[], None],
        on_event: Callable[[str], None],
    ):
        self._engine = engine
        self._fleet = fleet
        self._health = health
        self._operations = operations
        self._front = front
        self._check = check
        self._on_event = on_event
        self.repairs = Counter[str](gateway=0, torchserve=0, workers=0)
        self._repairs: deque[float] = deque()
        self._next_s = self._next_renewal_s = 0.0
        self._deaf_since_s: float | None = None

    def step(self) -> None:
        """Look once, if it is time to, and repair what is broken.

        Raises:
            ServeError: It breaks too often, or cannot be repaired.
        """
        now = time.monotonic()
        if now < self._next_s:
            return
        self._next_s = now + _EVERY_S
        if self._front is not None:
            self._tend(self._front)
        if not self._engine.is_running:
            self._restart()
        elif not self._is_heard(now):
            self._on_event(f"TorchServe's management has not answered for {_DEAF_S:g} s")
            self._engine.kill()
        else:
            for served, state in self._fleet.all():
                self._revive(served, state)
            for served in self._health.stuck():
                self._end_workers(served)
            self._renew_tokens(now)

    def _is_heard(self, now: float) -> bool:
        if self._engine.management.answers:
            self._deaf_since_s = None
            return True
        if self._deaf_since_s is None:
            self._deaf_since_s = now
        return now - self._deaf_since_s < _DEAF_S

    def _tend(self, front: Front) -> None:
        if front.is_running:
            front.tend()
            return
        try:
            front.check()
        except ServeError as err:
            self._count("gateway", str(err))
        with self._tried("the gateway"):
            front.restart(self._check)
            self._on_event("the gateway is back, with its splits")

    def _restart(self) -> None:
        try:
            self._engine.check()
        except ServeError as err:
            self._count("torchserve", str(err))
        with self._operations.kept_out("the restart of TorchServe"), self._tried("TorchServe"):
            self._health.phase = "restarting"
            self._health.forget()
            try:
                self._engine.restart(self._check)
                if self._front is not None:
                    self._front.follow()
                self._fleet.load_all(self._check, self._on_event)
            except ServeError:
                self._engine.kill()
                raise
            self._deaf_since_s = None
            self._health.phase = "ready"
            self._on_event("TorchServe is back, with all that was served")

    @contextlib.contextmanager
    def _tried(self, what: str) -> Iterator[None]:
        """Try a repair; one that fails is found broken at the next look, and counted again."""
        try:
            yield
        except ServeError as err:
            self._on_event(f"{what} did not come back: {err}")

    def _revive(self, served: Served, state: VersionState) -> None:
        """Bring back workers that TorchServe has given up."""
        dead = self._engine.activity.of(served.name, served.version).given_up
        if not dead or self._operations.is_busy:
            return
        found = [
            each
            for each in self._engine.management.conditions(served.name)
            if each.version == served.version
        ]
        if not found or (found[0].ready and found[0].wanted == state.workers + dead):
            return
        self._count("workers", f"{served}: TorchServe has given up {dead} of its workers")
        with self._operations.kept_out(f"the repair of {served}"), contextlib.suppress(ServeError):
            if not found[0].ready:  # then they can be cleared away
                self._engine.scale(served, 0)
                time.sleep(_EVERY_S)  # the log tells that they are gone
            self._engine.scale(served, state.workers)

    def _end_workers(self, served: Served) -> None:
        pids = [
            worker["pid"]
            for each in self._engine.management.conditions(served.name)
            if each.version == served.version
            for worker in each.told["workers"]
            if worker["status"] == "READY" and worker["pid"] > 1
        ]
        if not pids:  # those that load will be asked when they have, and are not those that hung
            self._health.forget()
            return
        self._count("workers", f"{served} hangs: it does not answer its golden image")
        self._health.forget()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _renew_tokens(self, now: float) -> None:
        keys = self._engine.keys
        if keys is None or now < self._next_renewal_s:
            return
        self._next_renewal_s = now + _RENEW_EVERY_S
        try:
            if keys.renew_if_old(self._engine.config.management_url):
                self._on_event("the tokens were renewed")
        except ServeError as err:  # a fifth of their life is left to try again in
            self._on_event(f"{err}; it is tried again in {_RENEW_EVERY_S:g} s")

    def _count(self, part: str, reason: str) -> None:
        """Note a repair.

        Raises:
            ServeError: There were too many.
        """
        now = time.monotonic()
        self.repairs[part] += 1
        self._repairs.append(now)
        while self._repairs[0] < now - REPAIRS_WINDOW_S:
            self._repairs.popleft()
        if len(self._repairs) > MOST_REPAIRS:
            raise ServeError(
                f"given up after {MOST_REPAIRS} repairs within {REPAIRS_WINDOW_S / 60:g} minutes; "
                f"the last reason: {reason}. The log says more"
            )
        self._on_event(f"{reason}: repair {len(self._repairs)} of {MOST_REPAIRS}")
