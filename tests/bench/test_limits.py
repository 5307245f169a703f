from __future__ import annotations

import pytest

from marina.bench.limits import read_change, read_limits
from marina.errors import BenchError

from .conftest import made_up


def test_limits_are_read_and_held() -> None:
    summary = made_up([10.0] * 95 + [100.0] * 5, seconds=10).summary
    text = "p50=20ms, p99=0.05s,errors=0,throughput=9.5/s,cpu=3ms,errors=1%"
    verdicts = [limit.check(summary) for limit in read_limits(text)]
    assert [verdict.is_met for verdict in verdicts] == [True, False, True, True, False, True]
    assert verdicts[1].limit == "p99 ≤ 50ms"
    assert verdicts[1].found == pytest.approx(100)


@pytest.mark.parametrize("text", ["p99", "p98=2ms", "p99=200", "errors=0ms", "p99=2 parsecs"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match=r"a limit looks like p99=200ms"):
        read_limits(text)


def test_a_change_must_be_sure_to_break_its_limit() -> None:
    limit = read_change("p99>+10%")
    assert str(limit) == "p99>+10%"
    assert limit.is_broken(0.2, 0.05, 0.3)
    assert not limit.is_broken(0.2, -0.05, 0.5)
    assert not limit.is_broken(0.05, 0.02, 0.3)
    assert read_change("throughput < -5%").is_broken(-0.1, -0.2, -0.01)
    for text in ("p99+10%", "max>+10%"):
        with pytest.raises(BenchError, match="looks like p99>"):
            read_change(text)
