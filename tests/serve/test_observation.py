"""What is counted of lines that no well-behaved server writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from marina.serve.log import Line
from marina.serve.observation import MOST_LABELS, Observations, parse_access

OWN = {"model_name": "a_b", "model_version": "1.0"}
ACCESS = {
    "path": "/predictions/a_b",
    "model": "a_b",
    "arm": None,
    "asked_version": None,
    "version": "1.0",
    "transport": "rest",
    "code": None,
    "grpc_status": None,
    "http_status": 200,
    "duration_us": 1500,
    "top1": "a%20class",
    "confidence": "0.75",
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def observations(registry: CollectorRegistry) -> Observations:
    return Observations(registry, lambda: [("a_b", "1.0"), ("a_b", "2.0"), ("a", "b_1.0")])


def said(text: str, source: str = "MODEL_LOG", worker: str = "W-9000-a_b_1.0") -> Line:
    return Line(worker, source, text, text)


@pytest.mark.parametrize(
    "rest",
    ["", "}", ', "size": "many"}', ', "size": 1, "seconds": [1], "errors": {}}', ', "size": []}'],
)
def test_what_only_looks_like_a_batch_is_passed_over(
    observations: Observations, registry: CollectorRegistry, rest: str
) -> None:
    observations.on_torchserve(said(f'{{"event": "batch"{rest}'))
    assert registry.get_sample_value("marina_requests_total", OWN) is None


def test_a_batch_counts_for_its_workers_version(
    observations: Observations, registry: CollectorRegistry
) -> None:
    batch = {
        "event": "batch",
        "size": 3,
        "seconds": {"decode": 0.5, "dance": 1},
        "errors": {"5xx": 3},
    }
    observations.on_torchserve(said(json.dumps(batch)))
    assert registry.get_sample_value("marina_requests_total", OWN) == 3
    assert registry.get_sample_value("marina_decode_seconds_sum", OWN) == 0.5
    errors = registry.get_sample_value("marina_request_errors_total", {**OWN, "status": "5xx"})
    assert errors == 3


def test_a_restart_counts(observations: Observations, registry: CollectorRegistry) -> None:
    observations.on_torchserve(said("Retry worker: 9000 in 1 seconds.", "WorkerThread"))
    assert registry.get_sample_value("marina_worker_restarts_total", OWN) == 1


def access(observations: Observations, **changed: Any) -> None:
    observations.on_gateway(parse_access(json.dumps({**ACCESS, **changed})))


@pytest.mark.parametrize("confidence", [None, "high", "nan", "-1", "1e9", ""])
def test_a_confidence_that_is_no_probability_is_none(
    observations: Observations, registry: CollectorRegistry, confidence: str | None
) -> None:
    access(observations, confidence=confidence)
    assert registry.get_sample_value("marina_confidence_count", OWN) is None
    access(observations)
    assert registry.get_sample_value("marina_confidence_sum", OWN) == 0.75
    label = {**OWN, "label": "a class"}
    assert registry.get_sample_value("marina_predictions_total", label) == 1


def test_there_is_an_end_to_the_classes(
    observations: Observations, registry: CollectorRegistry
) -> None:
    for number in range(MOST_LABELS + 5):
        access(observations, top1=str(number))
    access(observations, top1="0")
    for label, count in (("0", 2), (str(MOST_LABELS), None), ("(other)", 5)):
        found = registry.get_sample_value("marina_predictions_total", {**OWN, "label": label})
        assert found == count


@pytest.mark.parametrize(
    ("changed", "version", "kind"),
    [
        ({"http_status": 400, "version": None}, "1.0", "bad_request"),
        ({"http_status": 503, "version": None, "arm": "2.0"}, "2.0", "unavailable"),
        ({"http_status": 404, "version": None, "asked_version": "9.9"}, "", "not_found"),
        ({"http_status": 0, "version": None}, "1.0", "client_gone"),
        ({"http_status": 599}, "1.0", "server_fault"),
        ({"http_status": 418}, "1.0", "bad_request"),
        ({"http_status": 200, "transport": "grpc", "code": 413}, "1.0", "too_large"),
        ({"http_status": 200, "transport": "grpc", "grpc_status": 4}, "1.0", "timeout"),
    ],
)
def test_whose_an_answer_is_and_what_it_means(
    observations: Observations,
    registry: CollectorRegistry,
    changed: dict[str, Any],
    version: str,
    kind: str,
) -> None:
    access(observations, **changed)
    counted = [
        (sample.labels["model_version"], sample.labels["kind"])
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "marina_answers_total" and sample.value
    ]
    assert counted == [(version, kind)]


@pytest.mark.parametrize("path", ["/ping", "/ready", "/ready/m", "/org.Service/Ping"])
def test_probes_do_not_count(
    observations: Observations, registry: CollectorRegistry, path: str
) -> None:
    access(observations, path=path, model=None)
    observations.on_gateway(parse_access("no line"))
    assert not any(
        sample.name == "marina_answers_total"
        for family in registry.collect()
        for sample in family.samples
    )
