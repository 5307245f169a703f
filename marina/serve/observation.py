"""What is counted of requests and workers, from the lines of TorchServe's log and the gateway's.

TorchServe itself counts little, and in buckets that fit nobody. So its log is read while it is
written, which `LogFollower` does anyway. `docs/metrics.md` says what each metric means.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from marina.gateway.access_log import status_of
from marina.serve.activity import label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from marina.serve.log import Line

VERSION = ("model_name", "model_version")

# One to two and a half to five, from a tenth of a millisecond to the gateway's deadline.
SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1,
    0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

KINDS = {
    0: "client_gone",
    200: "ok",
    400: "bad_request",
    401: "unauthorized",
    403: "not_offered",
    404: "not_found",
    405: "not_offered",
    408: "timeout",
    413: "too_large",
    415: "unsupported_media",
    429: "queue_full",
    431: "too_large",
    499: "client_gone",
    500: "server_fault",
    501: "not_offered",
    503: "unavailable",
    504: "timeout",
    507: "out_of_memory",
}

# A handler of another make may say a new class with each answer, and each would be a series.
MOST_LABELS = 2000
OTHER_LABEL = "(other)"

_FROM_THE_START = (200, 429, 500, 503, 504)
_STAGES = ("decode", "preprocess", "inference", "explanation", "postprocess")
_WAITED = re.compile(r"Waiting time ns: (\d+), Backend time ns: (\d+)")
_NOT_COUNTED = re.compile(r"/(ping|ready)\b.*|.*/Ping")
_BATCH = '{"event": "batch"'
_NOBODY = ("", "")

disable_created_metrics()  # type: ignore[no-untyped-call]


class Observations:
    """Counts what the logs tell.

    Args:
        registry: Shows what was counted.
        served: Gives name and version of all that is served, the default of each model first.
    """

    def __init__(
        self, registry: CollectorRegistry, served: Callable[[], Iterable[tuple[str, str]]]
    ):
        self._served = served
        self._labels: dict[tuple[str, str], set[str]] = {}

        def seconds(name: str, what: str, *labels: str) -> Histogram:
            return Histogram(
                f"marina_{name}_seconds", what, (*VERSION, *labels), buckets=SECONDS,
                registry=registry,
            )  # fmt: skip

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"marina_{name}", what, (*VERSION, *labels), registry=registry)

        self._request = seconds(
            "request", "From a request's first byte at the gateway to its answer's last.",
            "transport",
        )  # fmt: skip
        self._queue = seconds("queue", "From TorchServe's receipt of a request to a worker.")
        self._backend = seconds("backend", "From the worker's receipt of a request to its answer.")
        self._stages = {
            stage: seconds(stage, f"Of a batch: its {stage}, in the handler.") for stage in _STAGES
        }
        self._size = Histogram(
            "marina_batch_size", "Requests in a batch.", VERSION, buckets=SIZES, registry=registry
        )
        self._answers = counter(
            "answers", "Answers that left the gateway.", "transport", "status", "kind"
        )
        self._handled = counter("requests", "Requests that the handler took.")
        self._errors = counter("request_errors", "Requests that it did not answer.", "status")
        self._confidence = Histogram(
            "marina_confidence", "Probability of the likeliest class.", VERSION,
            buckets=CONFIDENCES, registry=registry,
        )  # fmt: skip
        self._predictions = counter("predictions", "Answers by their likeliest class.", "label")
        self._restarts = counter("worker_restarts", "Workers that died and were started again.")

    def touch(self, name: str, version: str) -> None:
        """Show what has not happened yet of a version as 0, so that its rate has a beginning."""
        own = (name, version)
        for metric in (self._queue, self._backend, self._size, self._handled, self._restarts):
            metric.labels(*own)
        for stage in ("decode", "preprocess", "inference", "postprocess"):
            self._stages[stage].labels(*own)
        for status in _FROM_THE_START:
            for transport in ("rest", "grpc"):
                self._answers.labels(*own, transport, str(status), KINDS[status])

    def on_torchserve(self, line: Line) -> None:
        """Take a line of TorchServe's log."""
        if line.worker is None:
            return
        if line.source in {"RestJob", "GRPCJob"}:
            if found := _WAITED.match(line.text):
                own = self._of_worker(line.worker)
                self._queue.labels(*own).observe(int(found[1]) / 1e9)
                self._backend.labels(*own).observe(int(found[2]) / 1e9)
        elif line.source == "MODEL_LOG":
            if line.text.startswith(_BATCH):
                self._batch(line)
        elif line.source == "WorkerThread" and line.text.startswith("Retry worker"):
            self._restarts.labels(*self._of_worker(line.worker)).inc()

    def on_gateway(self, line: Mapping[str, Any] | None) -> None:
        """Take a line of the gateway's access log; None is one that is none."""
        if line is None or _NOT_COUNTED.fullmatch(line["path"] or ""):
            return
        name, version = self._of_request(line)
        status, transport = status_of(line), line["transport"]
        kind = KINDS.get(status, "bad_request" if status < 500 else "server_fault")
        self._answers.labels(name, version, transport, str(status), kind).inc()
        if not name:
            return
        self._request.labels(name, version, transport).observe(int(line["duration_us"] or 0) / 1e6)
        confidence = _confidence(line["confidence"])
        if line["top1"] is not None and confidence is not None:
            self._confidence.labels(name, version).observe(confidence)
            self._predictions.labels(name, version, self._known(name, version, line["top1"])).inc()

    def _known(self, name: str, version: str, label: str) -> str:
        """Give the label to count under: there is an end to how many are told apart."""
        known = self._labels.setdefault((name, version), set())
        if len(known) < MOST_LABELS:
            known.add(label)
        return unquote(label) if label in known else OTHER_LABEL

    def _batch(self, line: Line) -> None:
        try:
            batch = json.loads(line.text)
            size = int(batch["size"])
            seconds = {str(stage): float(s) for stage, s in batch["seconds"].items()}
            errors = {str(status): int(count) for status, count in batch["errors"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # a handler of another make says something that looks like ours
        own = self._of_worker(line.worker or "")
        for stage in _STAGES:
            if stage in seconds:
                self._stages[stage].labels(*own).observe(seconds[stage])
        self._size.labels(*own).observe(size)
        self._handled.labels(*own).inc(size)
        for status, count in errors.items():
            self._errors.labels(*own, status).inc(count)

    def _of_worker(self, worker: str) -> tuple[str, str]:
        """Give name and version of what a worker such as ``W-9000-resnet_1.0`` serves."""
        served = worker.split("-", 2)[-1]
        return next((each for each in self._served() if label(*each) == served), _NOBODY)

    def _of_request(self, line: Mapping[str, Any]) -> tuple[str, str]:
        """Give name and version of what was asked; nothing where it is not served.

        A client may ask for any name, and each would be a series.
        """
        served = list(self._served())
        name = line["model"]
        versions = [version for each, version in served if each == name]
        if not versions:
            return _NOBODY
        asked = line["version"] or line["arm"] or line["asked_version"] or versions[0]
        return (name, asked) if asked in versions else (name, "")


def _confidence(text: str | None) -> float | None:
    """Read the probability that a handler says; None if it says none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def parse_access(text: str) -> dict[str, Any] | None:
    """Read a line of the gateway's access log; None if it is none."""
    try:
        line: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return line
