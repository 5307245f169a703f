from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marina.bench.comparison import Change, broken, compare, differences_of_setup, read_side
from marina.bench.limits import read_change
from marina.bench.result import Result
from marina.errors import BenchError

from .conftest import made_up


def correlated(seed: int, level: float = 20.0) -> Result:
    """A run whose latencies wander: neighbours are alike, as in a queue."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=600)
    wander = np.zeros(600)
    for index in range(1, 600):
        wander[index] = 0.8 * wander[index - 1] + noise[index]
    return made_up(level * np.exp(0.05 * wander))


def by_name(changes: list[Change]) -> dict[str, Change]:
    return {change.metric: change for change in changes}


def test_a_real_change_is_sure_and_its_interval_holds_the_truth() -> None:
    found = by_name(compare([correlated(1)], [correlated(2, level=26.0)]))
    for name in ("p50", "p90", "mean"):
        assert found[name].is_sure
        assert found[name].low < 0.3 < found[name].high
    assert found["cpu"].change == pytest.approx(0)


def test_no_change_is_seldom_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 pairs that differ by chance, far fewer than those that naive intervals would name."""
    monkeypatch.setattr("marina.bench.comparison.RESAMPLES", 200)
    pairs = [([correlated(2 * i)], [correlated(2 * i + 1)]) for i in range(40)]
    sure = sum(by_name(compare(*pair))["mean"].is_sure for pair in pairs)
    assert sure <= 6


def test_several_runs_a_side(tmp_path: Path) -> None:
    for number in range(3):
        correlated(number).write(tmp_path / "a" / str(number))
    assert len(read_side(tmp_path / "a")) == 3
    assert len(read_side(tmp_path / "a" / "0")) == 1
    found = by_name(compare(read_side(tmp_path / "a"), [correlated(7)]))
    assert not found["p50"].is_sure
    with pytest.raises(BenchError, match="no result at"):
        read_side(tmp_path / "nowhere")


def test_a_limit_fails_only_for_sure() -> None:
    changes = compare([correlated(1)], [correlated(2, level=26.0)])
    assert broken(changes, [read_change("p50>+10%")])
    assert not broken(changes, [read_change("p50>+50%")])
    assert not broken(changes, [read_change("throughput<-5%")])
    with pytest.raises(BenchError, match="not measured in both"):
        broken(changes[:1], [read_change("cpu>+10%")])


def failing(every: int) -> Result:
    result = made_up([10.0] * 600)
    status = result.document["samples"]["status"]
    status[::every] = [503] * len(status[::every])
    return result


def test_errors_where_there_were_none_break_a_limit() -> None:
    """Latencies are those of answers: a server that fails at once would look as good as ever."""
    before = correlated(1)
    changes = compare([before], [failing(10)])
    assert by_name(changes)["errors"].change == pytest.approx(0.1, abs=0.01)
    assert broken(changes, [read_change("errors>+1%")])
    assert not broken(changes, [read_change("errors>+20%")])
    assert not broken(compare([failing(10)], [before]), [read_change("errors>+0%")])
    assert not broken(compare([before], [correlated(2)]), [read_change("errors>+0%")])
    assert not by_name(compare([before], [failing(600)]))["errors"].is_sure  # one, by chance


def test_other_setups_are_named() -> None:
    other = made_up([1.0] * 100)
    other.document["load"]["users"] = 8
    assert differences_of_setup([made_up([1.0] * 100)], [other]) == [
        "load differ: users is 1 and 8"
    ]
