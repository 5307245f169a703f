"""A rollout's driver over made-up traffic: what the live one does, without a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marina.rollout.collector import Answer, Arm, Collector
from marina.rollout.decision import Action, Decision
from marina.rollout.recorded import RecordedRollout
from marina.rollout.spec import RolloutSpec

SPEC: dict[str, Any] = {
    "model": "resnet",
    "baseline": "1.0",
    "candidate": "2.0",
    "steps": [
        {"weight": 10, "min_requests": 100, "min_time_s": 10},
        {"weight": 50, "min_requests": 400, "min_time_s": 10},
    ],
    "shadow": {"percent": 20},
    "gates": {
        "error_rate": {"max_increase": 0.03},
        "p50_ratio": {"max_ratio": 1.5},
        "class_mix": {"max_shift": 0.15, "classes": 10},
        "shadow_agreement": {"min_share": 0.8},
        "accuracy": {"max_decrease": 0.03},
    },
    "abort": {"max_time_s": 3600},
}


def spec(**changes: Any) -> RolloutSpec:
    return RolloutSpec.model_validate(SPEC | changes)


@dataclass
class Version:
    """How a version behaves."""

    accuracy: float = 0.97
    latency_ms: float = 8.0
    failure_rate: float = 0.002


@dataclass
class Traffic:
    """Answers and labels, second by second, as an access log that can be read again."""

    baseline: Version
    candidate: Version
    per_second: int = 50
    labelled: float = 0.3
    split_is_real: bool = True
    seed: int = 1
    log: list[tuple[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def second(self, at: float, weight: int, shadow_percent: int) -> None:
        """Add a second's requests to the log."""
        rng = self._rng
        share = weight / 100 if self.split_is_real else weight / 200
        for place in range(self.per_second):
            truth, name = int(rng.integers(10)), f"{at:.0f}-{place}"
            when = at + place / self.per_second
            arm = Arm.CANDIDATE if rng.random() < share else Arm.BASELINE
            self.log.append(("answer", self._answer(name, when, arm, truth)))
            if arm is Arm.BASELINE and rng.random() < shadow_percent / 100:
                copy = self._answer(name, when, Arm.CANDIDATE, truth, mirrored=True)
                self.log.append(("answer", copy))
            if rng.random() < self.labelled:
                self.log.append(("label", (name, str(truth))))

    def _answer(self, name: str, at: float, arm: Arm, truth: int, mirrored: bool = False) -> Answer:
        rng = self._rng
        version = self.candidate if arm is Arm.CANDIDATE else self.baseline
        latency = version.latency_ms * float(np.exp(rng.normal(0, 0.3)))
        if rng.random() < version.failure_rate:
            return Answer(name, at, arm, 503, latency, mirrored=mirrored)
        right = rng.random() < version.accuracy
        label = str(truth if right else (truth + 1) % 10)
        return Answer(name, at, arm, 200, latency, label, 0.9, mirrored)


class Driver:
    """Drives a recorded rollout over traffic, as the live process does."""

    def __init__(self, log: Path, traffic: Traffic, asked: RolloutSpec | None, now: float = 0.0):
        self.traffic = traffic
        self.recorded = RecordedRollout(log, asked, now)
        self.rollout = self.recorded.rollout
        self.collector = Collector()
        self._read(0, self.rollout.cursor.get("line", 0))
        self.collector.take()  # counted before the restart
        self.collector.take_disagreements()

    def tick(self, now: float) -> Decision:
        """Do what is to be done once a second."""
        if self.rollout.pending:
            self.recorded.applied(now)
        if not self.rollout.over:
            weight = self.rollout.split[self.rollout.spec.candidate]
            self.traffic.second(now, weight, self.rollout.shadow_percent)
        begin, end = self.rollout.cursor.get("line", 0), len(self.traffic.log)
        self._read(begin, end)
        self.recorded.observed(self.collector.take(), {"line": end}, now + 1)
        for disagreement in self.collector.take_disagreements()[:2]:
            self.recorded.disagreed(disagreement, now + 1)
        self.recorded.obey(now + 1)
        return self.recorded.decide(now + 1)

    def run(self, seconds: int, since: int = 0) -> list[Decision]:
        """Tick until it is over, or for so long; gives the decisions that did something."""
        decisions = []
        for now in range(since, since + seconds):
            decision = self.tick(float(now))
            if decision.action is not Action.HOLD:
                decisions.append(decision)
            if self.rollout.over:
                self.recorded.applied(now + 1.0)
                break
        return decisions

    def _read(self, begin: int, end: int) -> None:
        for kind, entry in self.traffic.log[begin:end]:
            if kind == "answer":
                self.collector.answer(entry, self.rollout.stratum_at(entry.at))
            else:
                self.collector.label(*entry)
