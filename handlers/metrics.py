"""What a batch cost and how its items fared, as Prometheus metrics (declared in metrics.yaml)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from handlers.context import MetricsCache
    from handlers.record import BatchRecord


def emit(record: BatchRecord, metrics: MetricsCache, version: str) -> None:
    """Emit one batch.

    Each value is a line of the worker's log, so there is one per stage and batch, not per item.
    TorchServe matches dimensions by their place: it appends ModelName and Level, and so they
    come last in metrics.yaml.

    Args:
        record: The batch.
        metrics: TorchServe's cache of metrics.
        version: The model's version.
    """
    by_version = {"ModelVersion": version}
    for stage, seconds in record.seconds.items():
        _add(metrics, f"marina_{stage}_seconds", seconds, MetricTypes.HISTOGRAM, by_version)
    _add(metrics, "marina_batch_size", record.size, MetricTypes.HISTOGRAM, by_version)
    for status, count in record.errors.items():
        dimensions = {"Status": status, **by_version}
        _add(metrics, "marina_request_errors_total", count, MetricTypes.COUNTER, dimensions)
    # Last: a drain that has seen it knows that the batch is done.
    _add(metrics, "marina_requests_total", record.size, MetricTypes.COUNTER, by_version)


def _add(
    metrics: MetricsCache,
    name: str,
    value: float,
    kind: MetricTypes,
    dimensions: Mapping[str, str],
) -> None:
    metrics.add_metric(
        name,
        value,
        unit="s" if name.endswith("_seconds") else "count",
        dimensions=[Dimension(key, text) for key, text in dimensions.items()],
        metric_type=kind,
    )
