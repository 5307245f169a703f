"""Whether all that shall be served is served: workers counted, and a golden image answered.

TorchServe's own ``/ping`` says Healthy while workers load, crash or hang.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marina.client import Client
from marina.errors import NotServed, QueueFull, ServeError
from marina.serve.readiness import ask

if TYPE_CHECKING:
    from marina.serve.engine import Engine
    from marina.serve.fleet import Fleet
    from marina.serve.front import Front
    from marina.serve.served import Served

_EVERY_S = 2.0
# A version that answers others shows that it lives; a golden image takes their time.
_BUSY_EVERY_S = 10.0


@dataclass
class Pulse:
    """What a version's golden image was answered with lately.

    Attributes:
        failures: Times in a row that no right answer came while the version did nothing else.
        error: What was wrong; None if nothing was.
    """

    failures: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Look:
    """What a version was seen to do when it was last its turn.

    Attributes:
        asked_s: When it was last asked.
        batches: How many it had taken by the last turn.
    """

    asked_s: float = -math.inf
    batches: int = 0

    def is_due(self, now_s: float, batches: int) -> bool:
        """Tell whether to ask now: not yet if it has taken others' batches since the last turn."""
        is_answering_others = batches > self.batches + 1  # one may be its golden image
        return not is_answering_others or now_s - self.asked_s >= _BUSY_EVERY_S


class Health:
    """Asks every version again and again for the answer to its golden image.

    One that answers others is asked less often, and at once when it does so no more.

    Args:
        engine: Serves them.
        fleet: Says which there are.
        timeout_s: Without an answer for so long, a version that answers nobody else hangs.
        front: The gateway; None if there is none.
    """

    def __init__(self, engine: Engine, fleet: Fleet, timeout_s: float, front: Front | None = None):
        self.phase = "starting"
        self._front = front
        self._engine = engine
        self._fleet = fleet
        self._timeout_s = timeout_s
        self._pulses: dict[Served, Pulse] = {}
        self._looks: dict[Served, Look] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def forget(self) -> None:
        """Forget all answers, since they came from workers that have ended."""
        self._pulses = {}

    def problems(self) -> list[str]:
        """Say what is wrong, a line each; nothing if all is as it shall be."""
        if self.phase != "ready":
            return [f"the server is {self.phase}"]
        if not self._engine.is_running:
            return ["TorchServe does not run"]
        if self._front is not None and not self._front.is_running:
            return ["the gateway does not run"]
        found = []
        ready = self._ready_workers()
        for served, state in self._fleet.all():
            count = ready.get((served.name, served.version), 0)
            if count < state.workers:
                found.append(f"{served}: {count} of {state.workers} workers are ready")
            error = self._pulse(served).error
            if error is not None:
                found.append(error)
        return found

    def idle(self, name: str, version: str | None) -> list[str]:
        """Say that no worker of a version takes requests; nothing if one does.

        Args:
            name: Of the model.
            version: Of the model; None is its default.

        Raises:
            NotServed: There is no such model or version.
        """
        model = self._fleet.state.models.get(name)
        if model is None:
            raise NotServed(f"{name} is not served")
        served = self._fleet.served(name, version or model.default)
        ready = self._ready_workers().get((name, served.version), 0)
        wanted = model.versions[served.version].workers
        return [] if ready else [f"{served}: none of {wanted} workers is ready"]

    def stuck(self) -> list[Served]:
        """List the versions that hang."""
        return [served for served, _ in self._fleet.all() if self._pulse(served).failures >= 2]

    def _pulse(self, served: Served) -> Pulse:
        return self._pulses.get(served) or Pulse()

    def _ready_workers(self) -> dict[tuple[str, str], int]:
        return {
            (name, each.version): each.ready
            for name in self._fleet.state.models
            for each in self._engine.management.conditions(name)
        }

    def _run(self) -> None:
        with ThreadPoolExecutor(8, thread_name_prefix="probe") as pool:
            while not self._stop.wait(_EVERY_S):
                if self.phase == "ready" and self._engine.is_running:
                    list(pool.map(self._probe, self._to_ask()))

    def _to_ask(self) -> list[Served]:
        leaving = self._fleet.leaving
        return [
            served
            for served, state in self._fleet.all()
            if state.workers
            and (served.name, served.version) not in leaving
            and self._is_due(served)
            and not self._is_down(served)
        ]

    def _is_due(self, served: Served) -> bool:
        now_s = time.monotonic()
        batches = self._engine.activity.of(served.name, served.version).batches
        look = self._looks.get(served, Look())
        is_due = look.is_due(now_s, batches) or self._pulse(served).error is not None
        self._looks[served] = Look(now_s if is_due else look.asked_s, batches)
        return is_due

    def _is_down(self, served: Served) -> bool:
        """Tell whether a version that was asked in vain has no worker that could be late."""
        if self._pulse(served).error is None:
            return False
        conditions = self._engine.management.conditions(served.name)
        return not any(each.ready for each in conditions if each.version == served.version)

    def _probe(self, served: Served) -> None:
        activity = self._engine.activity.of(served.name, served.version)
        before, pulses = activity.batches, self._pulses
        started = time.monotonic()
        try:
            with self._client() as client:
                ask(served, "REST", client)
        except ServeError as err:
            if isinstance(err.__cause__, QueueFull) or activity.batches > before + 1:
                return  # it is busy, and answers others
            is_late = time.monotonic() - started >= self._timeout_s
            failures = self._pulse(served).failures + is_late
            pulses[served] = Pulse(failures, str(err))
        else:
            pulses[served] = Pulse()

    def _client(self) -> Client:
        config, engine = self._engine.config, self._engine
        return Client(config.rest_url, token=engine.token, read_timeout_s=self._timeout_s)
