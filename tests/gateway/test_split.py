"""Splits as slots: exact, and moving no more users than they must."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.errors import SplitError
from marina.gateway.split import SLOTS, Split, make_split, parse_shares


def owners(split: Split) -> list[str]:
    """Who has each slot."""
    table = [""] * SLOTS
    for share in split.shares:
        for slot in range(share.start, share.stop):
            assert table[slot] == "", "a slot has two owners"
            table[slot] = share.arm
    return table


@st.composite
def weights(draw: st.DrawFn) -> dict[str, int]:
    arms = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True))
    cuts = sorted(draw(st.integers(0, SLOTS)) for _ in arms[1:])
    edges = [0, *cuts, SLOTS]
    return {arm: edges[i + 1] - edges[i] for i, arm in enumerate(arms)}


@given(st.lists(weights(), min_size=1, max_size=6))
def test_slots_are_exact_and_only_those_that_must_change_hands(
    sequence: list[dict[str, int]],
) -> None:
    before: Split | None = None
    for wanted in sequence:
        split = make_split("m", wanted, before=before)
        table = owners(split)
        assert {arm: table.count(arm) for arm in wanted} == wanted
        if before is not None:
            moved = sum(old != new for old, new in zip(owners(before), table, strict=True))
            gained = (max(0, n - before.weights.get(arm, 0)) for arm, n in wanted.items())
            assert moved == sum(gained)
        assert Split.from_dict(split.as_dict()) == split
        before = split


def test_going_back_brings_back_the_same_users() -> None:
    first = make_split("m", parse_shares(["1.0=90", "2.0=10"]))
    raised = make_split("m", parse_shares(["1.0=60", "2.0=40"]), before=first)
    lowered = make_split("m", parse_shares(["1.0=90", "2.0=10"]), before=raised)
    assert owners(lowered) == owners(first)


def test_shares_are_percentages() -> None:
    assert parse_shares(["1.0=87.5", "2.0=12.5%"]) == {"1.0": 8750, "2.0": 1250}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1.0"], "expected VERSION=PERCENT, such as 2.0=10, got '1.0'"),
        (["1.0=x"], "1.0=x: expected a percentage"),
        (["1.0=101"], "expected 0 to 100 percent in steps of 0.01"),
        (["1.0=0.001"], "expected 0 to 100 percent in steps of 0.01"),
        (["1.0=nan"], "expected"),
        (["1.0=50", "1.0=50"], "version 1.0 is given twice"),
        (["a/b=50"], "expected VERSION=PERCENT"),
    ],
)
def test_what_is_no_share(arguments: list[str], message: str) -> None:
    with pytest.raises(SplitError, match=re.escape(message)):
        parse_shares(arguments)


def test_weights_sum_to_a_hundred() -> None:
    with pytest.raises(SplitError, match=r"must sum to 100 percent, not 90 \+ 5 = 95"):
        make_split("m", parse_shares(["1.0=90", "2.0=5"]))


@pytest.mark.parametrize("name", ["x y", "x:y", "", "x-marina-arm", "X-Request-Id"])
def test_a_header_that_cannot_be(name: str) -> None:
    with pytest.raises(SplitError, match="cannot be the name of that header"):
        make_split("m", {"1.0": SLOTS}, sticky_header=name)
