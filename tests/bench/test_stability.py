from __future__ import annotations

import numpy as np

from marina.bench.stability import judge, warmup_windows


def noisy(level: float, count: int, seed: int = 0) -> list[float]:
    return list(level + np.random.default_rng(seed).normal(0, level / 50, count))


def test_the_slow_beginning_is_cut_off() -> None:
    assert warmup_windows([80, 40, 20, *noisy(10, 17)]) == 3
    assert warmup_windows(noisy(10, 20)) <= 10
    assert warmup_windows([1.0]) == 0


def test_a_steady_run_has_no_problem() -> None:
    stability = judge(noisy(10, 20))
    assert stability.problem is None
    assert stability.as_dict()["is_steady"] is True


def test_drift_and_spread_are_told() -> None:
    assert "drifted by +" in str(judge(list(np.linspace(10, 20, 20))).problem)
    assert "varied by" in str(judge([10, 20] * 10).problem)
    assert "too few" in str(judge([10, 10]).problem)


def test_a_server_that_stops_answering_is_not_steady() -> None:
    """MSER alone would leave out the half that was answered."""
    stability = judge([*noisy(10, 7), *[float("nan")] * 13])
    assert stability.problem == "nothing was answered in 13 of 20 stretches of it"
    assert stability.warmup_windows == 0


def test_one_empty_stretch_counts_as_slow() -> None:
    assert judge([*noisy(10, 10), float("nan"), *noisy(10, 9)]).problem is None
