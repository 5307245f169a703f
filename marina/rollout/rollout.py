"""The decision core: what was observed goes in, a decision with its evidence comes out.

A `Rollout` is a fold over events and holds no clock, socket or file. The events are those of the
log (`marina.rollout.journal`), so reading the log back gives the same state. Who drives it does
this, over and over (`marina.rollout.recorded` writes each event before it takes effect):

1. If `rollout.pending`, make the split what `rollout.split` says, then record ``applied``. That
   also holds after a restart, and doing it twice does no harm.
2. Read the access log and the feedback from `rollout.cursor` on into a `Collector`, with
   `rollout.stratum_at(answer.at)`, and record what it took as ``observed`` with the new cursor.
3. Obey the commands that came (pause, resume, promote, rollback: `marina.rollout.commands`).
4. Ask `decide(now)`; record the decision unless it is to hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from marina.errors import RolloutError
from marina.rollout.decision import Action, Decision, Phase
from marina.rollout.gates import Evidence, Status, check, explain, overall
from marina.rollout.journal import Event
from marina.rollout.spec import RolloutSpec, Step
from marina.rollout.split import SplitCheck, verify_split
from marina.rollout.tally import Tally


@dataclass
class Stratum:
    """A stretch of time in which the weights stood still.

    Attributes:
        step: Place of its step.
        weight: Percent for the candidate.
        since: When the split was in force, in seconds since 1970.
        until: When it was decided to change it; None while it lasts.
        tally: What was counted.
    """

    step: int
    weight: int
    since: float
    until: float | None = None
    tally: Tally = field(default_factory=Tally)


class Rollout:
    """The state of a rollout, and what follows from it.

    Attributes:
        spec: What was asked for.
        phase: Where it stands.
        step: Place of the current step.
        strata: Stretches of unchanged weights; evidence is never mixed between them.
        pending: Whether the split must be made what `split` says.
        cursor: Where the driver goes on reading; whatever it recorded last.
        inbox: How far the commands were read.
    """

    def __init__(self, spec: RolloutSpec, at: float):
        self.spec = spec
        self.phase = Phase.RUNNING
        self.step = 0
        self.started = at
        self.strata: list[Stratum] = []
        self.pending = True
        self.cursor: dict[str, Any] = {}
        self.inbox = 0

    # what follows from the state

    @property
    def over(self) -> bool:
        """Whether it ended, one way or the other."""
        return self.phase in {Phase.PROMOTED, Phase.ROLLED_BACK}

    @property
    def split(self) -> dict[str, int]:
        """Percent of the traffic for each version, as it should be now."""
        weight = self.spec.steps[self.step].weight
        if self.over:
            weight = 100 if self.phase is Phase.PROMOTED else 0
        return {self.spec.baseline: 100 - weight, self.spec.candidate: weight}

    @property
    def shadow_percent(self) -> int:
        """Percent of the baseline's requests to mirror, as it should be now."""
        return 0 if self.over or not self.spec.shadow else self.spec.shadow.percent

    def stratum_at(self, at: float) -> int | None:
        """Give the stratum of a request that began then; None while the weights were changing."""
        for position, stratum in enumerate(self.strata):
            if stratum.since <= at and (stratum.until is None or at < stratum.until):
                return position
        return None

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Where each gate stands now, and why."""
        return tuple(explain(self.spec.gates, self._tallies()))

    @property
    def verdict(self) -> str:
        """Better, worse, no difference larger than allowed, or keep running."""
        return overall(self.evidence)

    def as_dict(self) -> dict[str, Any]:
        """Give where it stands, for JSON."""
        evidence = self.evidence
        return {
            "model": self.spec.model,
            "phase": self.phase,
            "step": self.step,
            "split": self.split,
            "verdict": overall(evidence),
            "evidence": [each.as_dict() for each in evidence],
            "split_check": self.split_check().as_dict(),
        }

    def split_check(self) -> SplitCheck:
        """Tell whether the traffic is split as declared."""
        base, cand = self.spec.baseline, self.spec.candidate
        return verify_split(
            [
                (
                    {base: 100 - stratum.weight, cand: stratum.weight},
                    {
                        base: stratum.tally.baseline.assigned,
                        cand: stratum.tally.candidate.assigned,
                    },
                )
                for stratum in self.strata
            ],
            self.spec.gates.alpha_each,
        )

    # events in

    def apply(self, event: Event) -> None:
        """Take an event in; the log's own, or one that is about to be logged."""
        kind = event["event"]
        if kind == "applied":
            self._applied(event["at"])
        elif kind == "observed":
            for position, counted in event["tallies"].items():
                stratum = self.strata[int(position)]
                stratum.tally += Tally.model_validate(counted)
            self.cursor = event["cursor"]
        elif kind in {"decided", "commanded"}:
            self._act(Action(event["action"]), event["at"])
        elif kind not in {"started", "disagreed", "refused"}:
            raise RolloutError(f"the log holds an event {kind!r}: a newer Marina wrote it")
        self.inbox = event.get("inbox", self.inbox)

    def _applied(self, at: float) -> None:
        self.pending = False
        if not self.over:
            weight = self.spec.steps[self.step].weight
            self.strata.append(Stratum(self.step, weight, at))

    def _act(self, action: Action, at: float) -> None:
        if action in {Action.PAUSE, Action.RESUME}:
            self.phase = Phase.PAUSED if action is Action.PAUSE else Phase.RUNNING
            return
        if action is Action.ADVANCE:
            self.step += 1
        elif action is Action.PROMOTE:
            self.phase = Phase.PROMOTED
        elif action is Action.ROLL_BACK:
            self.phase = Phase.ROLLED_BACK
        self.pending = True
        if self.strata and self.strata[-1].until is None:
            self.strata[-1].until = at

    # decisions out

    def decide(self, now: float) -> Decision:
        """Tell what to do; changes nothing."""
        if self.over:
            return self._decision(Action.HOLD, now, f"{self.phase}: nothing is left to decide")
        if self.pending:
            return self._decision(Action.HOLD, now, "the split is being changed")
        states = check(self.spec.gates, self._tallies())
        stop = self._trouble(states, now)
        if stop is not None:
            return stop
        if self.phase is Phase.PAUSED:
            return self._decision(Action.HOLD, now, "paused: `marina rollout resume` goes on")
        return self._progress(states, now)

    def _trouble(self, states: dict[str, Status], now: float) -> Decision | None:
        """Decide what goes before all else: a breach, a false split, the time."""
        abort = self.spec.abort
        breached = [name for name, status in states.items() if status is Status.BREACHED]
        if breached:
            return self._stop(abort.on_breach, now, f"gate breached: {', '.join(breached)}")
        if abort.on_split_mismatch != "ignore":
            split = self.split_check()
            if split.mismatch:
                return self._stop(abort.on_split_mismatch, now, split.sentence)
        if abort.max_time_s is not None and now - self.started >= abort.max_time_s:
            return self._stop(abort.on_timeout, now, f"not decided within {abort.max_time_s:g} s")
        return None

    def _stop(self, how: str, now: float, reason: str) -> Decision | None:
        if how == "rollback":
            return self._decision(Action.ROLL_BACK, now, reason, self.evidence)
        if self.phase is Phase.PAUSED:
            return None
        return self._decision(Action.PAUSE, now, reason, self.evidence)

    def _progress(self, states: dict[str, Status], now: float) -> Decision:
        step = self.spec.steps[self.step]
        missing = self._missing(step, now)
        if missing:
            return self._decision(Action.HOLD, now, missing)
        if self.step + 1 < len(self.spec.steps):
            weight = self.spec.steps[self.step + 1].weight
            reason = f"step done, no gate breached: on to {weight}%"
            return self._decision(Action.ADVANCE, now, reason, self.evidence)
        waiting = [
            name
            for name, gate in self.spec.gates.kept.items()
            if gate.required and states[name] is not Status.PASSED
        ]
        if waiting:
            return self._decision(Action.HOLD, now, f"not shown yet: {', '.join(waiting)}")
        evidence = self.evidence
        return self._decision(Action.PROMOTE, now, overall(evidence), evidence)

    def _missing(self, step: Step, now: float) -> str:
        """Say what the step still lacks; nothing if it is done."""
        mine = [stratum for stratum in self.strata if stratum.step == self.step]
        requests = sum(stratum.tally.candidate.requests for stratum in mine)
        if requests < step.min_requests:
            return f"{requests:,} of the candidate's {step.min_requests:,} requests in this step"
        elapsed = now - mine[0].since
        if elapsed < step.min_time_s:
            return f"{elapsed:.0f} of {step.min_time_s:g} s in this step"
        return ""

    def _decision(
        self, action: Action, now: float, reason: str, evidence: tuple[Evidence, ...] = ()
    ) -> Decision:
        return Decision(action, now, self.step, reason, evidence)

    def _tallies(self) -> list[Tally]:
        return [stratum.tally for stratum in self.strata]
