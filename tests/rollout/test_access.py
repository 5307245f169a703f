from __future__ import annotations

from typing import Any

import pytest

from marina.rollout.access import answer_of
from marina.rollout.collector import Arm, Collector
from tests.rollout.traffic import spec


def line(**changes: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-02T03:04:05.250Z",
        "request_id": "r1",
        "model": "resnet",
        "arm": "2.0",
        "kind": "split",
        "user": None,
        "code": None,
        "http_status": 200,
        "grpc_status": None,
        "duration_us": 8250,
        "top1": "T%2Fshirt",
        "confidence": "0.91",
    } | changes


def test_a_line_becomes_an_answer() -> None:
    answer = answer_of(line(), spec())
    assert answer is not None
    assert (answer.arm, answer.label, answer.confidence) == (Arm.CANDIDATE, "T/shirt", 0.91)
    assert (answer.status, answer.latency_ms, answer.mirrored) == (200, 8.25, False)
    assert answer.at % 60 == 5.25
    copied = answer_of(line(kind="shadow"), spec())
    assert copied is not None
    assert copied.mirrored


@pytest.mark.parametrize(
    "changes",
    [{"model": "other"}, {"arm": "3.0"}, {"arm": None}, {"kind": "forced"}, {"kind": None}],
)
def test_what_the_split_did_not_choose_does_not_count(changes: dict[str, Any]) -> None:
    assert answer_of(line(**changes), spec()) is None


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"http_status": 503, "top1": None, "confidence": None}, True),
        ({"http_status": 0, "top1": None}, True),
        ({"http_status": 400, "top1": None}, False),
        ({"grpc_status": 0}, False),
        ({"grpc_status": 14, "top1": None}, True),
        ({"grpc_status": 3, "top1": None}, False),
        ({"grpc_status": 0, "code": "503", "top1": None}, True),
    ],
)
def test_whose_fault_an_answer_is_over_both_transports(
    changes: dict[str, Any], failed: bool
) -> None:
    answer = answer_of(line(**changes), spec())
    assert answer is not None
    assert answer.failed is failed


def test_a_sticky_user_counts_once_for_the_split() -> None:
    collector = Collector()
    for place in range(5):
        entry = answer_of(line(request_id=f"r{place}", user="ann"), spec())
        assert entry is not None
        collector.answer(entry, 0 if place < 3 else 1)
    taken = collector.take()
    assert (taken[0].candidate.requests, taken[0].candidate.assigned) == (3, 1)
    assert (taken[1].candidate.requests, taken[1].candidate.assigned) == (2, 0)
