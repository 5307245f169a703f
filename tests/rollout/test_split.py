from __future__ import annotations

import pytest

from marina.rollout.split import verify_split


def test_a_true_split_is_said_to_be_one() -> None:
    check = verify_split([({"1.0": 90, "2.0": 10}, {"1.0": 9012, "2.0": 988})])
    assert not check.mismatch
    assert "is split as declared: of 10,000 requests 1.0 got 90.12% where 90.00%" in check.sentence
    (base, cand) = check.arms
    assert base.low < 0.9 < base.high
    assert cand.low < 0.1 < cand.high


def test_a_false_one_is_called_so_plainly() -> None:
    check = verify_split([({"1.0": 90, "2.0": 10}, {"1.0": 8700, "2.0": 1300})])
    assert check.mismatch
    assert "NOT split as declared" in check.sentence
    assert check.p_value < 1e-6
    assert check.as_dict()["mismatch"] is True


def test_weights_that_changed_are_compared_stretch_by_stretch() -> None:
    stretches = [
        ({"1.0": 90, "2.0": 10}, {"1.0": 900, "2.0": 100}),
        ({"1.0": 50, "2.0": 50}, {"1.0": 500, "2.0": 500}),
    ]
    assert not verify_split(stretches).mismatch
    swapped = [(stretches[0][0], stretches[1][1]), (stretches[1][0], stretches[0][1])]
    assert verify_split(swapped).mismatch  # though the totals are the same


def test_a_request_to_an_arm_without_weight_is_a_mismatch() -> None:
    assert verify_split([({"1.0": 100, "2.0": 0}, {"1.0": 99, "2.0": 1})]).mismatch
    assert not verify_split([({"1.0": 100, "2.0": 0}, {"1.0": 99})]).mismatch


def test_three_arms_and_none_yet() -> None:
    weights = {"a": 80, "b": 10, "c": 10}
    assert verify_split([(weights, {})]).sentence == "no requests yet: nothing to verify"
    shares = [arm.declared for arm in verify_split([(weights, {"a": 8, "b": 1, "c": 1})]).arms]
    assert shares == pytest.approx([0.8, 0.1, 0.1])
