"""Where a request's milliseconds go, from three clocks: the client's, TorchServe's, the handler's.

=====================  ============================================================================
stage                  what it is
=====================  ============================================================================
gateway                the client's time less what Envoy says that the server behind it took; only
                       where a gateway answers
frontend               HTTP or gRPC, the network and TorchServe's Java, outside of the queue and
                       the worker; the gateway's own too where it does not tell
queue                  waiting for a worker and for the batch to fill, as TorchServe counts it
decode … postprocess   the handler's own stages, for the batch that the request is in
worker protocol        between the frontend and the handler: the socket, and TorchServe's Python
=====================  ============================================================================

All are means over the requests of one load. The handler tells its stages per batch, not per
request: with batches of unequal sizes they are approximate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from marina.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from marina.bench.generator import Drive, LoadGenerator
    from marina.bench.load import Load

_STAGES = ("decode", "preprocess", "inference", "postprocess")
_ENVOY_ROUNDING_MS = 0.5  # Envoy tells whole milliseconds, rounded down

# A counter's name and the model's, to its value summed over versions.
Counters = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Stage:
    """One part of a request's time.

    Attributes:
        name: Of the stage.
        ms: Mean milliseconds.
        source: Whose clock.
    """

    name: str
    ms: float
    source: str


@dataclass(frozen=True)
class Breakdown:
    """Where a request's time goes.

    Attributes:
        title: The load, in words.
        requests: How many were answered.
        batch_size: Mean size of their batches; None if the handler does not tell.
        stages: In the order in which a request passes them.
        notes: What to know before believing it.
    """

    title: str
    requests: int
    batch_size: float | None
    stages: list[Stage]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``--json`` prints it."""
        return {**asdict(self), "total_ms": sum(stage.ms for stage in self.stages)}


def profile(generator: LoadGenerator, load: Load, metrics_url: str) -> Breakdown:
    """Send a load, and tell where the requests' time went.

    Args:
        generator: Sends it.
        load: What to send; its warm-up is sent first and not counted.
        metrics_url: TorchServe's Prometheus metrics.

    Raises:
        BenchError: The metrics cannot be read, or no request was answered.
    """
    read_counters(metrics_url)  # before the load: a wrong address shall not cost its time
    if load.warmup_s:
        generator.drive(replace(load, duration_s=load.warmup_s, warmup_s=0))
    before = read_counters(metrics_url)
    drive = generator.drive(replace(load, warmup_s=0))
    after = read_counters(metrics_url)
    return break_down(drive, before, after, load)


def break_down(drive: Drive, before: Counters, after: Counters, load: Load) -> Breakdown:
    """Take the counters' growth apart.

    Raises:
        BenchError: No request was answered.
    """
    answered = np.asarray(drive.status) == 200
    requests = int(answered.sum())
    if not requests:
        raise BenchError(f"no request was answered: {next(iter(drive.errors), 'none was made')}")
    grown = _grown(before, after, load.model)
    client_ms = float(np.asarray(drive.latency_ms)[answered].mean())
    stages, notes = _outside(drive, client_ms, grown)
    stages += _inside(grown)
    seen = round(grown.get("ts_inference_requests", 0))
    if seen > len(drive.status) * 1.05 + 1:
        notes.append(
            f"TorchServe answered {seen} requests, {len(drive.status)} of them ours: the means "
            "are over all of them"
        )
    batches = grown.get("marina_batch_size_count", 0)
    batch_size = grown["marina_batch_size_sum"] / batches if batches else None
    title = f"{load}: {requests} answers"
    if batch_size is not None:
        title += f" in batches of {batch_size:.1f}"
    if batch_size is not None and batch_size > 1.05:
        notes.append("the handler's stages are means over batches, whatever their size")
    return Breakdown(title, requests, batch_size, stages, notes)


def read_counters(metrics_url: str) -> Counters:
    """Read TorchServe's metrics.

    Raises:
        BenchError: They are not there.
    """
    try:
        answer = httpx.get(metrics_url, timeout=10, trust_env=False).raise_for_status()
    except httpx.HTTPError as err:
        raise BenchError(
            f"cannot read TorchServe's metrics at {metrics_url} ({err}): --metrics-url names them, "
            "and TorchServe needs metrics_mode=prometheus"
        ) from err
    counters: Counters = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            model = sample.labels.get("model_name") or sample.labels.get("ModelName") or ""
            # The parser gives every counter this ending, whether TorchServe wrote it or not.
            key = (sample.name.removesuffix("_total"), model)
            counters[key] = counters.get(key, 0.0) + sample.value
    return counters


def plot(found: Breakdown, file: Path) -> None:
    """Draw the stages as one stacked bar."""
    from matplotlib.figure import Figure

    from marina.bench.plots import save

    figure = Figure(figsize=(9, 2.4), layout="constrained")
    axes = figure.subplots()
    left = 0.0
    for stage in found.stages:
        axes.barh(0, stage.ms, left=left, label=f"{stage.name} {stage.ms:.2f} ms")
        left += stage.ms
    axes.set(yticks=[], xlabel="ms", title=found.title)
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    save(figure, file)


def _grown(before: Counters, after: Counters, model: str) -> Mapping[str, float]:
    return {
        name: value - before.get((name, owner), 0.0)
        for (name, owner), value in after.items()
        if owner == model
    }


def _outside(
    drive: Drive, client_ms: float, grown: Mapping[str, float]
) -> tuple[list[Stage], list[str]]:
    """Give what lies between the client and TorchServe's own clock."""
    count = grown.get("ts_inference_requests", 0)
    if not count:
        return [Stage("all", client_ms, "client")], ["TorchServe counted no request of this model"]
    server_ms = grown["ts_inference_latency_microseconds"] / count / 1e3
    told = [value for value in drive.upstream_ms if value is not None]
    if not told:
        return [Stage("frontend", max(0.0, client_ms - server_ms), "client − TorchServe")], []
    upstream_ms = float(np.mean(told)) + _ENVOY_ROUNDING_MS
    return [
        Stage("gateway", max(0.0, client_ms - upstream_ms), "client − Envoy"),
        Stage("frontend", max(0.0, upstream_ms - server_ms), "Envoy − TorchServe"),
    ], []


def _inside(grown: Mapping[str, float]) -> list[Stage]:
    """Give what lies within TorchServe's own clock."""
    count = grown.get("ts_inference_requests", 0)
    if not count:
        return []
    server_ms = grown["ts_inference_latency_microseconds"] / count / 1e3
    queue_ms = grown["ts_queue_latency_microseconds"] / count / 1e3
    handler = [
        Stage(name, _mean_ms(grown, f"marina_{name}_seconds"), "handler")
        for name in _STAGES
        if grown.get(f"marina_{name}_seconds_count")
    ]
    rest_ms = server_ms - queue_ms - sum(stage.ms for stage in handler)
    name = "worker protocol" if handler else "worker"
    return [
        Stage("queue", queue_ms, "TorchServe"),
        *handler,
        Stage(name, max(0.0, rest_ms), "TorchServe − the above"),
    ]


def _mean_ms(grown: Mapping[str, float], name: str) -> float:
    return grown[f"{name}_sum"] / grown[f"{name}_count"] * 1e3
