from __future__ import annotations

import pytest

from marina.bench.breakdown import break_down
from marina.bench.generator import Drive
from marina.bench.load import Load

BEFORE = {("ts_inference_requests", "resnet"): 5.0}
AFTER = {
    ("ts_inference_requests", "resnet"): 15.0,
    ("ts_inference_latency_microseconds", "resnet"): 10 * 8000.0,
    ("ts_queue_latency_microseconds", "resnet"): 10 * 1000.0,
    ("marina_decode_seconds_sum", "resnet"): 5 * 0.002,
    ("marina_decode_seconds_count", "resnet"): 5.0,
    ("marina_inference_seconds_sum", "resnet"): 5 * 0.004,
    ("marina_inference_seconds_count", "resnet"): 5.0,
    ("marina_batch_size_sum", "resnet"): 10.0,
    ("marina_batch_size_count", "resnet"): 5.0,
    ("ts_inference_requests", "other"): 99.0,
}


def drive(upstream_ms: float | None) -> Drive:
    return Drive(0, 1, 0.1, [0.0] * 10, [10.0] * 10, [200] * 10, [upstream_ms] * 10, {})


def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    return Load("http://127.0.0.1:8080", (tmp_path_factory.getbasetemp(),))


def test_each_millisecond_has_its_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = break_down(drive(None), BEFORE, AFTER, load(tmp_path_factory))
    stages = {stage.name: pytest.approx(stage.ms) for stage in found.stages}
    assert stages == {
        "frontend": 2.0,
        "queue": 1.0,
        "decode": 2.0,
        "inference": 4.0,
        "worker protocol": 1.0,
    }
    assert found.as_dict()["total_ms"] == pytest.approx(10)
    assert found.batch_size == 2


def test_a_gateway_has_its_own_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = break_down(drive(8.5), BEFORE, AFTER, load(tmp_path_factory))
    stages = {stage.name: pytest.approx(stage.ms) for stage in found.stages}
    assert (stages["gateway"], stages["frontend"]) == (1.0, 1.0)


def test_a_server_that_tells_nothing_leaves_one_stage(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found = break_down(drive(None), {}, {}, load(tmp_path_factory))
    assert [(stage.name, stage.ms) for stage in found.stages] == [("all", 10.0)]
    assert "counted no request" in found.notes[0]
