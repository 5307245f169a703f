from __future__ import annotations

from dataclasses import replace

import pytest

from marina.bench.limits import read_limits
from marina.bench.result import Summary
from marina.bench.search import Search, frontier
from marina.bench.settings import Setting
from marina.bench.sweep import Swept

from .conftest import made_up

OWN = Setting(1, None, 1, 1, "fp32")


LAYOUTS = ((1, None), (2, None), (1, 1))


def speed(setting: Setting) -> float:
    """A machine of two cores: batches of 8 are best, bf16 is twice as fast, a delay costs."""
    by_batch = {1: 20, 2: 24, 4: 30, 8: 36, 16: 34, 32: 30}[setting.batch_size]
    factor = {"fp32": 1, "bf16": 2}[setting.precision] * (
        1 if setting.workers == 2 else 0.7 if setting.threads is None else 0.4
    )
    return by_batch * factor - setting.max_batch_delay_ms / 10


def summary(setting: Setting) -> Summary:
    found = made_up([1000 * setting.batch_size / speed(setting)] * 100).summary
    return replace(found, throughput=speed(setting))


def search(limits: str = "", most: int = 1000) -> tuple[Search, list[Setting]]:
    tried: list[Setting] = []

    def attempt(setting: Setting, times: int) -> Summary | None:
        tried.append(setting)
        return summary(setting)

    found = Search(attempt, read_limits(limits), lambda: len(tried) >= most)
    found.run(OWN, LAYOUTS, ("fp32", "bf16"))
    return found, tried


def test_it_finds_the_best_and_prunes() -> None:
    found, tried = search()
    best = max(found.points, key=lambda point: point.rank)
    assert best.setting == Setting(2, None, 8, 1, "bf16")
    assert len(tried) < 25  # the whole product has 2 × 3 × 6 × 5
    assert not any(s.precision == "fp32" and s.batch_size == 16 for s in tried)
    assert [point.setting for point in frontier(found.points)][-1] == best.setting


def test_other_libraries_compute_the_best_setting() -> None:
    tried: list[Setting] = []

    def attempt(setting: Setting, times: int) -> Summary | None:
        tried.append(setting)
        found = summary(setting)
        return replace(
            found, throughput=found.throughput * (1.5 if "vino" in setting.backend else 1)
        )

    found = Search(attempt, [], lambda: False)
    found.run(OWN, LAYOUTS, ("fp32", "bf16"), ("torchscript", "onnxruntime", "openvino"))
    best = max(found.points, key=lambda point: point.rank)
    assert best.setting == Setting(2, None, 8, 1, "bf16", "openvino")
    assert all(setting.backend != "onnxruntime" for setting in tried)  # it has no bf16


def test_a_limit_rules_out_what_is_faster() -> None:
    found, _ = search("p99=30ms")
    swept = Swept(OWN, found.points, "p99=30ms")
    assert swept.best is not None
    assert swept.best.setting == Setting(2, None, 1, 1, "bf16")
    assert "keep p99=30ms" in swept.reason
    assert "The recipe's own gave 13.9 answers/s at p99 72 ms" in swept.reason


def test_a_limit_that_nothing_keeps_is_told() -> None:
    found, _ = search("p99=1ms")
    swept = Swept(OWN, found.points, "p99=1ms")
    assert swept.best is None
    assert "none of" in swept.reason


def test_it_stops_when_its_time_is_up() -> None:
    found, tried = search(most=3)
    assert len(tried) == len(found.points) == 3
    assert tried[0] == OWN


def test_what_cannot_be_measured_is_left_out() -> None:
    found = Search(lambda setting, _: None, [], lambda: False)
    found.run(OWN, LAYOUTS, ("fp32",))
    assert found.points == []


@pytest.mark.parametrize("count", [0, 1])
def test_few_points_have_a_frontier(count: int) -> None:
    found, _ = search(most=count)
    assert len(frontier(found.points)) == count
