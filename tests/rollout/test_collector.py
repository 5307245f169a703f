from __future__ import annotations

import pytest

from marina.rollout.collector import Answer, Arm, Collector
from marina.rollout.tally import ArmTally, PairTally, Tally


def answer(name: str = "r1", label: str | None = "7", **changes: object) -> Answer:
    fields = {"at": 0.0, "arm": Arm.BASELINE, "status": 200, "latency_ms": 8.0, "confidence": 0.9}
    return Answer(request_id=name, label=label, **(fields | changes))  # type: ignore[arg-type]


def copy(name: str = "r1", label: str | None = "7", **changes: object) -> Answer:
    return answer(name, label, arm=Arm.CANDIDATE, mirrored=True, **changes)


def test_answers_are_counted_by_arm_and_stratum() -> None:
    collector = Collector()
    collector.answer(answer("a"), 0)
    collector.answer(answer("b", None, status=503), 0)
    collector.answer(answer("c", None, status=400), 0)  # the client's own fault
    collector.answer(answer("d", arm=Arm.CANDIDATE), 1)
    collector.answer(answer("e"), None)  # while the weights were changing
    taken = collector.take()
    assert taken[0].baseline.requests == 3
    assert taken[0].baseline.failures == 1
    assert taken[0].baseline.classes == {"7": 1}
    assert taken[1].candidate.requests == 1
    assert set(taken) == {0, 1}
    assert collector.take() == {}


@pytest.mark.parametrize("status", [0, 408, 429, 500, 504])
def test_what_is_the_server_s_fault(status: int) -> None:
    assert answer(status=status).failed


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_a_copy_and_a_label_are_joined_in_any_order(order: tuple[int, ...]) -> None:
    collector = Collector()
    steps = [
        lambda: collector.answer(answer(label="1"), 0),
        lambda: collector.answer(copy(label="7", confidence=0.8), 0),
        lambda: collector.label("r1", "7"),
    ]
    total = Tally()
    for place in order:
        steps[place]()
        total = sum(collector.take().values(), total)
    assert total.baseline.wrong == 1
    assert total.candidate == ArmTally()
    assert (total.pairs.disagree, total.pairs.candidate_only) == (1, 1)
    (disagreement,) = collector.take_disagreements()
    assert disagreement.baseline == ("1", 0.9)
    assert disagreement.candidate == ("7", 0.8)


def test_agreement_keeps_the_shift_of_confidence_and_the_latency_ratio() -> None:
    collector = Collector()
    collector.answer(answer(confidence=0.9, latency_ms=10.0), 0)
    collector.answer(copy(confidence=0.95, latency_ms=20.2), 0)
    pairs = collector.take()[0].pairs
    assert pairs.confidence_shift == {5: 1}
    ((ratio, count),) = pairs.latency_ratio.items()
    assert count == 1
    assert 1.01**ratio == pytest.approx(2.02, rel=0.01)


def test_a_copy_that_failed_is_a_disagreement_and_a_failed_request_is_no_pair() -> None:
    collector = Collector()
    collector.answer(answer("a"), 0)
    collector.answer(copy("a", None, status=503), 0)
    collector.answer(answer("b", None, status=503), 0)
    collector.answer(copy("b"), 0)
    assert collector.take()[0].pairs == PairTally(disagree=1)
    assert collector.take_disagreements()[0].candidate is None


def test_a_second_label_or_a_repeated_request_id_changes_nothing() -> None:
    collector = Collector()
    collector.answer(answer(), 0)
    collector.label("r1", "7")
    collector.label("r1", "3")
    collector.answer(answer(label="3"), 0)
    collector.answer(copy(), 0)
    collector.answer(copy(label="3"), 0)
    taken = collector.take()[0]
    assert (taken.baseline.requests, taken.baseline.right, taken.baseline.wrong) == (2, 1, 0)
    assert (taken.pairs.agree, taken.pairs.both_right) == (1, 1)


def test_labels_of_forgotten_requests_are_not_counted() -> None:
    collector = Collector(remembered=2)
    for name in "abc":
        collector.answer(answer(name), 0)
    collector.label("a", "7")
    collector.label("c", "7")
    assert collector.take()[0].baseline.right == 1
    for name in "xyz":
        collector.label(name, "7")
    assert collector.unmatched_labels == 2


def test_tallies_add_up_and_survive_json() -> None:
    one = Tally(baseline=ArmTally(requests=2, latency={600: 1, 601: 1}))
    two = Tally(baseline=ArmTally(requests=1, latency={601: 1}), pairs=PairTally(agree=1))
    total = one + two
    assert total.baseline.latency == {600: 1, 601: 2}
    assert Tally.model_validate_json(total.model_dump_json(exclude_defaults=True)) == total
