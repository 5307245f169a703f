"""What a batch cost and how its items fared: a line of the log, and Prometheus metrics.

The line is JSON: ``{"event": "batch", "model", "version", "size", "seconds": {stage: …},
"errors": {status: items}, "requests": [request ids]}``. A server that counts from these lines, as
`marina serve` does, says so in the environment; without one the same numbers go to TorchServe's
own metrics, which are declared in metrics.yaml.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING

from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

from handlers.record import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from handlers.context import MetricsCache
    from handlers.record import BatchRecord

logger = logging.getLogger(__name__)

_DIGITS = 6  # of seconds: microseconds


def report(
    record: BatchRecord,
    metrics: MetricsCache | None,
    name: str,
    version: str,
    request_ids: Sequence[str],
) -> None:
    """Tell of one batch.

    Args:
        record: The batch.
        metrics: TorchServe's cache of metrics; None where a model is loaded without a server.
        name: Of the model.
        version: Of the model.
        request_ids: Of the batch's requests.
    """
    line = {
        "event": "batch",
        "model": name,
        "version": version,
        "size": record.size,
        "seconds": {stage: round(s, _DIGITS) for stage, s in record.seconds.items()},
        "errors": dict(record.errors),
        "requests": list(request_ids),
    }
    logger.info("%s", json.dumps(line))
    if metrics is not None and VARIABLE not in os.environ:
        _emit(record, metrics, version)


def _emit(record: BatchRecord, metrics: MetricsCache, version: str) -> None:
    """Emit one batch to TorchServe.

    Each value is a line of the worker's log, so there is one per stage and batch, not per item.
    TorchServe matches dimensions by their place: it appends ModelName and Level, and so they
    come last in metrics.yaml.
    """
    by_version = {"ModelVersion": version}
    for stage, seconds in record.seconds.items():
        _add(metrics, f"marina_{stage}_seconds", seconds, MetricTypes.HISTOGRAM, by_version)
    _add(metrics, "marina_batch_size", record.size, MetricTypes.HISTOGRAM, by_version)
    for status, count in record.errors.items():
        dimensions = {"Status": status, **by_version}
        _add(metrics, "marina_request_errors_total", count, MetricTypes.COUNTER, dimensions)
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
