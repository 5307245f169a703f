"""What a rollout may decide, and where that leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from marina.rollout.gates import Evidence
from marina.rollout.journal import Event


class Phase(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"


class Action(StrEnum):
    """What to do now."""

    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "rollback"
    PAUSE = "pause"
    RESUME = "resume"


# For CI: what the command that drove a rollout ends with.
EXIT_CODES = {Phase.PROMOTED: 0, Phase.ROLLED_BACK: 11, Phase.PAUSED: 12, Phase.RUNNING: 12}


@dataclass(frozen=True)
class Decision:
    """What to do, and why.

    Attributes:
        action: What to do.
        at: When it was decided, in seconds since 1970.
        step: Place of the step it was decided in.
        reason: In a sentence.
        evidence: Behind it; empty when there is nothing to do.
    """

    action: Action
    at: float
    step: int
    reason: str
    evidence: tuple[Evidence, ...] = ()

    def as_event(self) -> Event:
        """Give the decision for the log."""
        return {
            "event": "decided",
            "at": self.at,
            "action": self.action,
            "step": self.step,
            "reason": self.reason,
            "evidence": [each.as_dict() for each in self.evidence],
        }
