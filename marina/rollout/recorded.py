"""A rollout with its log: every event is on the disk before it takes effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from marina.errors import RolloutError
from marina.rollout.collector import Disagreement
from marina.rollout.commands import receive
from marina.rollout.decision import Action, Decision, Phase
from marina.rollout.journal import Event, Journal, read_events
from marina.rollout.rollout import Rollout
from marina.rollout.spec import RolloutSpec
from marina.rollout.tally import Tally

COMMANDS = {
    Action.PAUSE: {Phase.RUNNING},
    Action.RESUME: {Phase.PAUSED},
    Action.PROMOTE: {Phase.RUNNING, Phase.PAUSED},
    Action.ROLL_BACK: {Phase.RUNNING, Phase.PAUSED},
}


class RecordedRollout:
    """A `Rollout` that goes on where its log ends.

    Args:
        log: The log. If it holds a rollout, that one goes on.
        spec: What to start if the log is empty. If it is not, both must say the same.
        now: Seconds since 1970; the start of a new rollout.

    Raises:
        RolloutError: The log is held by another process, is damaged, is empty with nothing to
            start, or holds a rollout that was started from something else.
    """

    def __init__(self, log: Path, spec: RolloutSpec | None, now: float):
        self._journal = Journal(log)
        try:
            self.rollout = self._take_up(spec, now)
        except BaseException:
            self._journal.close()
            raise

    def _take_up(self, spec: RolloutSpec | None, now: float) -> Rollout:
        log = self._journal.path
        if not self._journal.events:
            if spec is None:
                raise RolloutError(f"{log} is empty: give a rollout.yaml to start one")
            started = {"event": "started", "at": now, "spec": spec.model_dump(mode="json")}
            self._journal.append(started)
        rollout = replay(self._journal.events)
        if spec is not None and spec != rollout.spec:
            raise RolloutError(
                f"{log} holds a rollout of other steps or gates: finish it as it was started, "
                "or give another log"
            )
        return rollout

    @property
    def events(self) -> Sequence[Event]:
        """What happened so far."""
        return self._journal.events

    def applied(self, now: float) -> None:
        """Record that the split is now what `Rollout.split` says."""
        self._record({"event": "applied", "at": now, "split": self.rollout.split})

    def observed(self, tallies: Mapping[int, Tally], cursor: Mapping[str, Any], now: float) -> None:
        """Record what was counted by stratum, and where to go on reading."""
        counted = {
            str(stratum): tally.model_dump(mode="json", exclude_defaults=True)
            for stratum, tally in tallies.items()
        }
        event = {"event": "observed", "at": now, "tallies": counted, "cursor": dict(cursor)}
        self._record(event)

    def disagreed(self, disagreement: Disagreement, now: float, image: str | None = None) -> None:
        """Record a disagreement for the gallery.

        Args:
            disagreement: Which request, and what the arms said.
            now: Seconds since 1970.
            image: File that the image was kept in, relative to the log; None if it was not kept.
        """
        self._record({"event": "disagreed", "at": now, "image": image, **disagreement.as_dict()})

    def decide(self, now: float) -> Decision:
        """Decide, and record the decision unless it is to hold."""
        decision = self.rollout.decide(now)
        if decision.action is not Action.HOLD:
            self._record(decision.as_event())
        return decision

    def give_up(self, reason: str, now: float) -> None:
        """Record that it is rolled back for what no gate sees."""
        rollout = self.rollout
        decision = Decision(Action.ROLL_BACK, now, rollout.step, reason, rollout.evidence)
        self._record(decision.as_event())

    def command(self, action: Action, now: float, reason: str, inbox: int | None = None) -> None:
        """Record what a person decided.

        Args:
            action: Pause, resume, promote or rollback.
            now: Seconds since 1970.
            reason: Why.
            inbox: How far the inbox was read, if the command came from there.

        Raises:
            RolloutError: It cannot be done in this phase.
        """
        refuse_command(self.rollout, action)
        event: Event = {
            "event": "commanded",
            "at": now,
            "action": action,
            "step": self.rollout.step,
            "reason": reason,
            "evidence": [each.as_dict() for each in self.rollout.evidence],
        }
        self._record(event if inbox is None else event | {"inbox": inbox})

    def obey(self, now: float) -> None:
        """Record the commands in the inbox that came since the last time."""
        for command, offset in receive(self._journal.path, self.rollout.inbox):
            try:
                self.command(command.action, now, command.reason, offset)
            except RolloutError as err:  # too late, or twice
                refused = {"event": "refused", "at": now, "action": command.action}
                self._record(refused | {"reason": str(err), "inbox": offset})

    def close(self) -> None:
        """Let another process go on."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _record(self, event: Event) -> None:
        self._journal.append(event)
        self.rollout.apply(event)


def refuse_command(rollout: Rollout, action: Action) -> None:
    """Refuse what cannot be done in the phase that a rollout is in.

    Raises:
        RolloutError: It cannot.
    """
    if rollout.phase not in COMMANDS.get(action, set()):
        raise RolloutError(f"cannot {action} a rollout that is {rollout.phase}")


def replay(events: Sequence[Event]) -> Rollout:
    """Give the state that a log leads to.

    Raises:
        RolloutError: It does not begin with the start of a rollout.
    """
    if not events or events[0]["event"] != "started":
        raise RolloutError("the log does not begin with the start of a rollout")
    spec = RolloutSpec.model_validate(events[0]["spec"])
    rollout = Rollout(spec, events[0]["at"])
    for event in events[1:]:
        rollout.apply(event)
    return rollout


def read_rollout_log(log: Path) -> tuple[Rollout, list[Event]]:
    """Read a log without holding it: for status, history and report while another drives."""
    events = read_events(log)
    return replay(events), events
