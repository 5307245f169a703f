"""What a running server does at this moment, from two looks at its metrics."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from marina.errors import ConnectionFailed

_TIMEOUT_S = 10.0
_OK = frozenset({"ok"})


@dataclass(frozen=True)
class Reading:
    """The metrics at one time.

    Attributes:
        at: When, in seconds of a clock that only goes on.
        samples: Name, labels and value of each.
    """

    at: float
    samples: list[tuple[str, dict[str, str], float]]

    def total(self, name: str, **labels: str) -> float:
        """Sum up the samples of a name with these labels."""
        return sum(value for _, value in self.of(name, **labels))

    def value(self, name: str, **labels: str) -> float | None:
        """Give one sample; None if there is none."""
        return next((value for _, value in self.of(name, **labels)), None)

    def of(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Give the samples of a name with these labels."""
        return [
            (own, value)
            for each, own, value in self.samples
            if each == name and labels.items() <= own.items()
        ]


@dataclass(frozen=True)
class Version:
    """What one version does.

    Attributes:
        model: Its name.
        version: Of the model.
        is_default: Whether it answers whoever names no version.
        split_percent: Its declared share; None if it is no arm.
        requests_per_s: Answers to clients.
        errors_per_s: Of them, those that are not 200, by kind.
        p50_ms: Median of the latency, None if nothing was answered.
        p99_ms: Its 99th percentile.
        queue: Requests that wait for a worker.
        queue_limit: Most that may.
        workers_ready: Workers that have loaded.
        workers_wanted: Workers that there shall be.
        workers_busy: Workers that hold a batch.
        batch_size: Mean of its batches, None if there was none.
        batch_limit: The largest allowed.
    """

    model: str
    version: str
    is_default: bool
    split_percent: float | None
    requests_per_s: float
    errors_per_s: dict[str, float]
    p50_ms: float | None
    p99_ms: float | None
    queue: int
    queue_limit: int
    workers_ready: int
    workers_wanted: int
    workers_busy: int
    batch_size: float | None
    batch_limit: int


@dataclass(frozen=True)
class Sample:
    """What a server did between two looks.

    Attributes:
        seconds: How long that was.
        is_ready: Whether the server is ready.
        clock: Whose latency it is: ``gateway``, or ``worker`` where there is no gateway.
        requests_per_s: Answers to clients, whatever they asked for.
        errors_per_s: Of them, those that are not 200, by kind.
        restarts: Workers that were started again since the server's start.
        repairs: What the supervisor mended since then.
        versions: Each that is served.
    """

    seconds: float
    is_ready: bool
    clock: str
    requests_per_s: float
    errors_per_s: dict[str, float]
    restarts: int
    repairs: int
    versions: list[Version]

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina top --json`` prints it."""
        return asdict(self)


def read(url: str) -> Reading:
    """Look once.

    Args:
        url: Of Marina's metrics.

    Raises:
        ConnectionFailed: Nobody answers there, or it is no `marina serve`.
    """
    try:
        answer = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False).raise_for_status()
        samples = [
            (sample.name, dict(sample.labels), float(sample.value))
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        ]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as err:
        raise ConnectionFailed(
            f"no server shows metrics at {url} ({err}): start one with `marina serve`, or name its "
            "address with --metrics-url, or its port with MARINA_METRICS_PORT"
        ) from err
    if not any(name == "marina_ready" for name, _, _ in samples):
        raise ConnectionFailed(
            f"{url} shows metrics, but none of `marina serve`: check the address"
        )
    return Reading(time.monotonic(), samples)


def compare(before: Reading, after: Reading) -> Sample:
    """Tell what happened between two looks."""
    change = _Change(before, after)
    has_gateway = bool(after.of("marina_gateway_up"))
    errors, requests = _answers(change, has_gateway)
    return Sample(
        seconds=change.seconds,
        is_ready=after.total("marina_ready") == 1,
        clock="gateway" if has_gateway else "worker",
        requests_per_s=requests,
        errors_per_s=errors,
        restarts=int(after.total("marina_worker_restarts_total")),
        repairs=int(after.total("marina_repairs_total")),
        versions=[_version(change, info, has_gateway) for info, _ in after.of("marina_model_info")],
    )


class _Change:
    """How much the counters grew."""

    def __init__(self, before: Reading, after: Reading):
        self.after = after
        self.seconds = max(after.at - before.at, 1e-9)
        self._old = {(name, frozenset(own.items())): v for name, own, v in before.samples}

    def of(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Give the growth of each sample; a counter that began anew counts from 0."""
        found = []
        for own, value in self.after.of(name, **labels):
            old = self._old.get((name, frozenset(own.items())), 0.0)
            found.append((own, value - old if value >= old else value))
        return found

    def total(self, name: str, **labels: str) -> float:
        """Give the growth of all samples together."""
        return sum(value for _, value in self.of(name, **labels))

    def quantile_ms(self, level: float, name: str, **labels: str) -> float | None:
        """Give a quantile of a histogram's growth in milliseconds, as Prometheus reckons it."""
        buckets: dict[float, float] = {0.0: 0.0}
        for own, value in self.of(f"{name}_bucket", **labels):
            if own.get("transport") != "shadow":
                bound = float(own["le"])
                buckets[bound] = buckets.get(bound, 0.0) + value
        ordered = sorted(buckets.items())
        rank = level * ordered[-1][1]
        if not rank:
            return None
        for (low, below), (high, upto) in pairwise(ordered):
            if upto >= rank:
                within = (rank - below) / (upto - below)
                bound = low if math.isinf(high) else low + (high - low) * within
                return bound * 1000
        return None


def _version(change: _Change, info: dict[str, str], has_gateway: bool) -> Version:
    own = {key: info[key] for key in ("model_name", "model_version")}
    latency = "marina_request_seconds" if has_gateway else "marina_backend_seconds"
    errors, requests = _answers(change, has_gateway, **own)
    batches = change.total("marina_batch_size_count", **own)
    after = change.after

    def now(name: str) -> int:
        return int(after.total(f"marina_{name}", **own))

    return Version(
        model=own["model_name"],
        version=own["model_version"],
        is_default=info["is_default"] == "true",
        split_percent=after.value("marina_split_percent", kind="split", **own),
        requests_per_s=requests,
        errors_per_s=errors,
        p50_ms=change.quantile_ms(0.5, latency, **own),
        p99_ms=change.quantile_ms(0.99, latency, **own),
        queue=now("queue_length"),
        queue_limit=now("queue_limit"),
        workers_ready=now("workers_ready"),
        workers_wanted=now("workers_wanted"),
        workers_busy=now("workers_busy"),
        batch_size=change.total("marina_batch_size_sum", **own) / batches if batches else None,
        batch_limit=now("batch_size_limit"),
    )


def _answers(change: _Change, has_gateway: bool, **labels: str) -> tuple[dict[str, float], float]:
    """Give the errors a second by kind, and all answers a second."""
    name, key = (
        ("marina_answers_total", "kind")
        if has_gateway
        else ("marina_request_errors_total", "status")
    )
    rates: dict[str, float] = {}
    for own, count in change.of(name, **labels):
        if own.get("transport") != "shadow" and count:
            rates[own[key]] = rates.get(own[key], 0.0) + count / change.seconds
    errors = {kind: rate for kind, rate in rates.items() if kind not in _OK}
    if has_gateway:
        return errors, sum(rates.values())
    return errors, change.total("marina_requests_total", **labels) / change.seconds
