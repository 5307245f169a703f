"""Real loads on a small real server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from marina.bench.generator import LoadGenerator
from marina.bench.images import ImageSet
from marina.bench.load import Load
from marina.bench.measurement import measure
from marina.errors import BenchError, ConnectionFailed, MarinaError

from .conftest import Stub


def test_closed_loop_sends_when_answered(generator: LoadGenerator, stub: Stub, image: Path) -> None:
    load = Load(stub(delay_ms=50), (image,), users=3, duration_s=1.5, warmup_s=0.5)
    drive = generator.drive(load)
    assert set(drive.status) == {200}
    assert min(drive.latency_ms) >= 50
    longest = drive.ended_s - drive.started_s
    assert 5 <= len(drive.status) <= 3 * longest / 0.05 + 3
    assert drive.errors == {}
    assert drive.upstream_ms[0] == 50


def test_open_loop_counts_from_the_due_time(
    generator: LoadGenerator, stub: Stub, image: Path
) -> None:
    """A stall of a second is felt by all who were due meanwhile, not by one."""
    url = stub(delay_ms=1, stall_every=40, stall_ms=1000)
    load = Load(url, (image,), rate=40.0, duration_s=3.0, warmup_s=0.0)
    slow = [ms for ms in generator.drive(load).latency_ms if ms > 200]
    assert len(slow) >= 20
    one = generator.drive(Load(url, (image,), users=1, duration_s=2.0, warmup_s=0.0))
    share = np.mean(np.asarray(one.latency_ms) > 200)
    assert share < len(slow) / 120 / 3


def test_poisson_arrivals_have_the_rate(generator: LoadGenerator, stub: Stub, image: Path) -> None:
    load = Load(stub(1), (image,), rate=100.0, arrivals="poisson", duration_s=3.0, warmup_s=0)
    drive = generator.drive(load)
    gaps = np.diff(np.sort(drive.start_s))
    assert 200 <= len(drive.status) <= 400
    assert 0.6 < gaps.std() / gaps.mean() < 1.4  # 1 for exponential gaps, 0 for equal ones


def test_errors_are_counted_and_told(generator: LoadGenerator, stub: Stub, image: Path) -> None:
    images = ImageSet("here", (image,))
    load = Load(stub(fail_every=4), (image,), users=2, duration_s=1.5, warmup_s=0.2)
    result = measure(generator, load, images)
    assert 0.15 < result.summary.errors / result.summary.requests < 0.35
    assert any("no worker" in text for text in result.document["errors"])


def test_a_result_has_what_the_server_used(
    generator: LoadGenerator, stub: Stub, image: Path, tmp_path: Path
) -> None:
    load = Load(stub(), (image,), users=1, duration_s=2.0, warmup_s=0.5)
    result = measure(generator, load, ImageSet("here", (image,)))
    summary = result.summary
    assert summary.cpu_ms is not None
    assert 0 < summary.cpu_ms < 50
    assert summary.rss_mb is not None
    assert summary.rss_mb > 5
    assert result.document["environment"]["usable_cores"] >= 1
    assert result.document["stability"]["warmup_windows"] <= 10
    file = result.write(tmp_path / "out")
    assert type(result).read(file).summary == summary


def test_a_server_that_is_not_there_is_named(generator: LoadGenerator, image: Path) -> None:
    load = Load("http://127.0.0.1:9", (image,), duration_s=1.0)
    with pytest.raises(MarinaError, match="refused"):
        measure(generator, load, ImageSet("here", (image,)))


def test_a_dead_child_is_told(stub: Stub, image: Path) -> None:
    with LoadGenerator() as generator:
        os.kill(generator.pid, signal.SIGKILL)
        with pytest.raises(BenchError, match="load generator died"):
            generator.probe(Load(stub(), (image,)))


def test_a_late_answer_is_not_taken_for_the_next(
    stub: Stub, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, load = stub(delay_ms=4000), Load(stub(), (image,), duration_s=0.5, warmup_s=0.0)
    with LoadGenerator() as generator:
        assert generator.probe(load)[0] == 200
        with monkeypatch.context() as patch:
            patch.setattr("marina.bench.generator._PROBE_S", 0.5)
            with pytest.raises(BenchError, match="no answer within"):
                generator.probe(Load(slow, (image,)))
        assert set(generator.drive(load).status) == {200}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("users", 0, "--users"), ("rate", -1.0, "--rate"), ("duration_s", 0.0, "--duration")],
)
def test_a_load_out_of_range_is_refused(key: str, value: float, message: str, image: Path) -> None:
    with pytest.raises(BenchError, match=message):
        Load("http://127.0.0.1:9", (image,), **{key: value})  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="needs images"):
        Load("http://127.0.0.1:9", ())


def test_connection_failed_is_a_client_error() -> None:
    assert issubclass(ConnectionFailed, MarinaError)
