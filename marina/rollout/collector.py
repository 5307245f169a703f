"""From single answers and labels to tallies: shadows and feedback are joined by request id.

A `Collector` is a fold over an append-only stream: the same answers and labels in the same order
give the same tallies. After a restart it is fed what was read before (`take` throws the tallies
away), then what is new: nothing is counted twice and no join is lost.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from marina.rollout.quantiles import GROWTH, bin_of
from marina.rollout.tally import Tally

Counted = tuple[str, str, int | str | None]  # arm or "pairs", field, bin


class Arm(StrEnum):
    """Who answers."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class Answer:
    """One line of the gateway's access log.

    Attributes:
        request_id: The same for a request and its mirrored copy.
        at: When it began, in seconds since 1970.
        arm: Who answered.
        status: HTTP status, 0 for none.
        latency_ms: Until the last byte.
        label: Likeliest class, None if there is none.
        confidence: Its probability.
        mirrored: Whether it is the copy, whose answer no client saw.
        user: Whose it is, where the split is sticky.
    """

    request_id: str
    at: float
    arm: Arm
    status: int
    latency_ms: float
    label: str | None = None
    confidence: float | None = None
    mirrored: bool = False
    user: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the server is to blame: a bad image (4xx) would be one in either arm."""
        return self.status >= 500 or self.status in {0, 408, 429}

    @property
    def succeeded(self) -> bool:
        """Whether there is a class to speak of."""
        return 200 <= self.status < 300 and self.label is not None


@dataclass(frozen=True)
class Disagreement:
    """A request to which the arms gave two classes.

    Attributes:
        request_id: To find it by.
        baseline: Class and confidence.
        candidate: Class and confidence; None if it failed.
    """

    request_id: str
    baseline: tuple[str, float] | None
    candidate: tuple[str, float] | None

    def as_dict(self) -> dict[str, Any]:
        """Give the disagreement for JSON."""
        return asdict(self)


@dataclass
class _Request:
    stratum: int | None = None
    own: Answer | None = None
    copy: Answer | None = None
    label: str | None = None


class Collector:
    """Counts answers and labels, and joins what belongs to the same request.

    Args:
        remembered: Requests kept for a label or a mirrored answer that may still come. The
            oldest are forgotten first: a label for one of them is not counted.
    """

    def __init__(self, remembered: int = 200_000):
        self._remembered = remembered
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._counts: dict[int, Counter[Counted]] = {}
        self._users: set[str] = set()
        self._disagreements: list[Disagreement] = []
        self.unmatched_labels = 0

    def answer(self, answer: Answer, stratum: int | None) -> None:
        """Count an answer.

        Args:
            answer: What the access log says.
            stratum: The stretch it belongs to; None if it came while the weights were changing.
        """
        request = self._request(answer.request_id)
        if answer.mirrored:
            if request.copy is None:
                request.copy = answer
                self._pair(request)
            return
        if stratum is not None:
            self._count_answer(stratum, answer)
        if request.own is None:  # a client may send the same id twice: the first one counts
            request.own, request.stratum = answer, stratum
            if request.label is not None:
                self._judge(request)
            self._pair(request)

    def label(self, request_id: str, label: str) -> None:
        """Count a label that came back; the first one for a request counts."""
        request = self._request(request_id)
        if request.label is not None:
            return
        request.label = label
        if request.own is not None:
            self._judge(request)
            self._judge_pair(request)

    def take(self) -> dict[int, Tally]:
        """Give what was counted since the last call, by stratum."""
        taken, self._counts = self._counts, {}
        return {stratum: _tally(counts) for stratum, counts in taken.items()}

    def take_disagreements(self) -> list[Disagreement]:
        """Give the disagreements since the last call."""
        taken, self._disagreements = self._disagreements, []
        return taken

    def _request(self, request_id: str) -> _Request:
        request = self._requests.get(request_id)
        if request is None:
            request = self._requests[request_id] = _Request()
            if len(self._requests) > self._remembered:
                _, forgotten = self._requests.popitem(last=False)
                self.unmatched_labels += forgotten.own is None and forgotten.label is not None
        return request

    def _count(self, stratum: int, arm: str, name: str, key: int | str | None = None) -> None:
        """Add one to a field of a tally, or to one bin of it."""
        self._counts.setdefault(stratum, Counter())[arm, name, key] += 1

    def _count_answer(self, stratum: int, answer: Answer) -> None:
        self._count(stratum, answer.arm, "requests")
        if answer.user not in self._users:
            self._count(stratum, answer.arm, "assigned")
        if answer.user is not None:
            self._users.add(answer.user)
        if answer.succeeded:
            self._count(stratum, answer.arm, "latency", bin_of(answer.latency_ms))
            self._count(stratum, answer.arm, "classes", answer.label)
        elif answer.failed:
            self._count(stratum, answer.arm, "failures")

    def _judge(self, request: _Request) -> None:
        """Count whether the client's own answer was right."""
        own = request.own
        if own is None or request.stratum is None or not own.succeeded:
            return
        self._count(request.stratum, own.arm, "right" if own.label == request.label else "wrong")

    def _pair(self, request: _Request) -> None:
        """Compare the two answers once both are there."""
        own, copy, stratum = request.own, request.copy, request.stratum
        if own is None or copy is None or stratum is None or not own.succeeded:
            return
        agree = copy.succeeded and own.label == copy.label
        self._count(stratum, "pairs", "agree" if agree else "disagree")
        if agree and own.confidence is not None and copy.confidence is not None:
            shift = round(100 * (copy.confidence - own.confidence))
            self._count(stratum, "pairs", "confidence_shift", shift)
        if copy.succeeded and own.latency_ms > 0 and copy.latency_ms > 0:
            ratio = math.log(copy.latency_ms / own.latency_ms) / math.log(GROWTH)
            self._count(stratum, "pairs", "latency_ratio", round(ratio))
        if not agree:
            self._disagreements.append(Disagreement(own.request_id, _said(own), _said(copy)))
        self._judge_pair(request)

    def _judge_pair(self, request: _Request) -> None:
        """Count which of the two was right, once both answers and the label are there."""
        own, copy = request.own, request.copy
        if own is None or copy is None or request.stratum is None or request.label is None:
            return
        if not own.succeeded:
            return
        base = own.label == request.label
        cand = copy.succeeded and copy.label == request.label
        names = {
            (True, True): "both_right",
            (True, False): "baseline_only",
            (False, True): "candidate_only",
            (False, False): "both_wrong",
        }
        self._count(request.stratum, "pairs", names[base, cand])


def _said(answer: Answer) -> tuple[str, float] | None:
    return (answer.label or "", answer.confidence or 0.0) if answer.succeeded else None


def _tally(counts: Counter[Counted]) -> Tally:
    """Give counts by arm, field and bin as a tally."""
    fields: dict[str, dict[str, Any]] = {}
    for (arm, name, key), count in counts.items():
        if key is None:
            fields.setdefault(arm, {})[name] = count
        else:
            fields.setdefault(arm, {}).setdefault(name, {})[key] = count
    return Tally.model_validate(fields)
