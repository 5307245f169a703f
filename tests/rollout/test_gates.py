from __future__ import annotations

import json

import pytest

from marina.rollout.gates import Evidence, Status, check, explain, overall
from marina.rollout.quantiles import bin_of
from marina.rollout.spec import Gates
from marina.rollout.tally import ArmTally, PairTally, Tally


def evidence_of(gate: str, limit: dict[str, object], *strata: Tally) -> Evidence:
    gates = Gates.model_validate({gate: limit})
    (evidence,) = explain(gates, strata)
    assert check(gates, strata) == {gate: evidence.status}
    json.dumps(evidence.as_dict(), allow_nan=False)
    return evidence


def arms(base: ArmTally, cand: ArmTally) -> Tally:
    return Tally(baseline=base, candidate=cand)


@pytest.mark.parametrize(
    ("failures", "requests", "status", "verdict"),
    [
        (2, 4000, Status.PASSED, "no difference"),
        (400, 4000, Status.BREACHED, "worse"),
        (1, 100, Status.OPEN, "keep running"),
        (0, 0, Status.NO_DATA, "no data"),
    ],
)
def test_error_rate(failures: int, requests: int, status: Status, verdict: str) -> None:
    tally = arms(
        ArmTally(requests=9000, failures=9), ArmTally(requests=requests, failures=failures)
    )
    evidence = evidence_of("error_rate", {"max_increase": 0.02}, tally)
    assert evidence.status is status
    assert evidence.verdict.startswith(verdict)
    assert (evidence.more_requests is not None) == (status is Status.OPEN)


def test_a_difference_smaller_than_the_limit_is_no_breach() -> None:
    """Half a point worse is shown, two points are allowed: no difference that matters."""
    tally = arms(
        ArmTally(requests=10**6, failures=10**4), ArmTally(requests=10**6, failures=15_000)
    )
    evidence = evidence_of("error_rate", {"max_increase": 0.02}, tally)
    assert evidence.status is Status.PASSED
    assert evidence.low is not None
    assert evidence.low > 0


def test_steps_that_differ_are_named() -> None:
    """The interval is of what they share: what was seen over both may lie outside of it."""
    one = arms(ArmTally(right=302, wrong=12), ArmTally(right=125))
    two = arms(ArmTally(right=273, wrong=48), ArmTally(right=349, wrong=1))
    assert "step to step" in evidence_of("accuracy", {"max_decrease": 0.02}, one, two).sentence
    assert "step to step" not in evidence_of("accuracy", {"max_decrease": 0.02}, two).sentence


def test_latency_is_told_as_a_factor() -> None:
    base = ArmTally(requests=2000, latency={bin_of(8.0 + place / 50): 20 for place in range(100)})
    cand = ArmTally(requests=2000, latency={bin_of(16.0 + place / 50): 20 for place in range(100)})
    evidence = evidence_of("p50_ratio", {"max_ratio": 1.3}, arms(base, cand))
    assert evidence.status is Status.BREACHED
    assert evidence.estimate == pytest.approx(17 / 9, rel=0.02)
    assert evidence.sentence.startswith("×1.9")
    assert evidence_of("p50_ratio", {"max_ratio": 1.3}, arms(cand, base)).verdict == "better"


def test_shadow_agreement() -> None:
    agreeing = Tally(pairs=PairTally(agree=980, disagree=20))
    assert evidence_of("shadow_agreement", {"min_share": 0.9}, agreeing).status is Status.PASSED
    assert evidence_of("shadow_agreement", {"min_share": 0.999}, agreeing).status is Status.BREACHED
    evidence = evidence_of("shadow_agreement", {"min_share": 0.975}, agreeing)
    assert evidence.status is Status.OPEN
    assert "more requests" in evidence.sentence


def test_accuracy_counts_down_and_needs_no_labels_to_go_on() -> None:
    worse = arms(ArmTally(right=970, wrong=30), ArmTally(right=800, wrong=200))
    evidence = evidence_of("accuracy", {"max_decrease": 0.02}, worse)
    assert evidence.status is Status.BREACHED
    assert evidence.verdict == "worse"
    better = arms(ArmTally(right=800, wrong=200), ArmTally(right=970, wrong=30))
    evidence = evidence_of("accuracy", {"max_decrease": 0.02}, better)
    assert evidence.status is Status.PASSED
    assert overall([evidence]).startswith("better: accuracy")
    nothing = evidence_of("accuracy", {"max_decrease": 0.02}, Tally())
    assert not nothing.required
    assert overall([nothing]) == "no difference larger than is allowed"


def test_class_mix_names_the_class() -> None:
    base = ArmTally(classes={"ant": 500, "bee": 500})
    cand = ArmTally(classes={"ant": 900, "bee": 100})
    evidence = evidence_of("class_mix", {"max_shift": 0.1, "classes": 2}, arms(base, cand))
    assert evidence.status is Status.BREACHED
    assert "moved most: +40.00%" in evidence.sentence or "moved most: -40.00%" in evidence.sentence
    assert overall([evidence]) == "worse: class_mix"


def test_what_is_open_says_how_long_it_will_take() -> None:
    tally = arms(ArmTally(requests=900, failures=1), ArmTally(requests=100, failures=0))
    evidence = evidence_of("error_rate", {"max_increase": 0.02}, tally)
    assert overall([evidence]) == f"keep running: about {evidence.more_requests:,} more requests"
    mix = evidence_of(
        "class_mix",
        {"max_shift": 0.1, "classes": 2},
        arms(ArmTally(classes={"ant": 5, "bee": 5}), ArmTally(classes={"ant": 5, "bee": 5})),
    )
    assert overall([evidence, mix]).endswith("more requests; nothing can be said yet on class_mix")


def test_what_passed_is_not_said_to_be_open() -> None:
    """It is no worse than is allowed; whether it is better is not known."""
    tally = arms(ArmTally(right=1000, wrong=100), ArmTally(right=480, wrong=20))
    evidence = evidence_of("accuracy", {"max_decrease": 0.05}, tally)
    assert evidence.status is Status.PASSED
    assert evidence.verdict == "within what is allowed"
