"""One measurement: every latency, what the server used, and what both come to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from marina.errors import BenchError
from marina.files import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FILE = "result.json"
FORMAT = 1
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
OK = 200


@dataclass(frozen=True)
class Summary:
    """What a measurement comes to. Latencies are of the requests that were answered with 200.

    Attributes:
        requests: That started within the measured time.
        errors: Of these, how many were not answered with 200.
        throughput: Answers of 200 per second.
        latency_ms: ``p50`` to ``p99.9``, ``mean`` and ``max``.
        cpu_ms: CPU time of the server's processes per answer; None if they are not at hand.
        cores: How many cores they kept busy.
        rss_mb: Their largest resident memory.
        client_cores: How many cores the load generator kept busy; near 1 it is the limit itself.
    """

    requests: int
    errors: int
    throughput: float
    latency_ms: dict[str, float]
    cpu_ms: float | None
    cores: float | None
    rss_mb: float | None
    client_cores: float

    @property
    def metrics(self) -> dict[str, float]:
        """All numbers that a limit may be set on, by name."""
        found = {**self.latency_ms, "errors": float(self.errors), "throughput": self.throughput}
        if self.cpu_ms is not None:
            found["cpu"] = self.cpu_ms
        return found


@dataclass(frozen=True)
class Result:
    """One measurement, as it lies in ``result.json``."""

    document: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a result from its file, or from the folder that holds it.

        Raises:
            BenchError: There is none, or it is of another format.
        """
        file = path / FILE if path.is_dir() else path
        try:
            document = json.loads(file.read_text())
        except (OSError, ValueError) as err:
            raise BenchError(
                f"no result at {path} ({err}): name a folder that `marina bench run` wrote, or "
                f"its {FILE}"
            ) from err
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise BenchError(f"{file} is not a result of format {FORMAT}: measure it again")
        return cls(document)

    def write(self, folder: Path) -> Path:
        """Write ``result.json`` into a folder, whole."""
        file = folder / FILE
        write_whole(file, json.dumps(self.document))
        return file

    @cached_property
    def window(self) -> tuple[float, float]:
        """When the measured time began and ended, in seconds since the epoch."""
        begin, end = self.document["window"]
        return float(begin), float(end)

    @cached_property
    def start_s(self) -> Floats:
        """When each request should have started, (N,), in seconds since the epoch."""
        return np.asarray(self.document["samples"]["start_s"], dtype=float)

    @cached_property
    def latency_ms(self) -> Floats:
        """Of each request, (N,)."""
        return np.asarray(self.document["samples"]["latency_ms"], dtype=float)

    @cached_property
    def is_ok(self) -> NDArray[np.bool_]:
        """Whether each request was answered with 200, (N,)."""
        is_ok: NDArray[np.bool_] = np.asarray(self.document["samples"]["status"]) == OK
        return is_ok

    @cached_property
    def is_measured(self) -> NDArray[np.bool_]:
        """Whether each request should have started within the measured time, (N,)."""
        begin, end = self.window
        measured: NDArray[np.bool_] = (self.start_s >= begin) & (self.start_s < end)
        return measured

    @property
    def seconds(self) -> float:
        """Length of the measured time."""
        return self.window[1] - self.window[0]

    @cached_property
    def end_s(self) -> Floats:
        """When each answer was there, (N,)."""
        ends: Floats = self.start_s + self.latency_ms / 1e3
        return ends

    def answers_until(self, time_s: Floats) -> Floats:
        """Count the answers of 200 until each of some times."""
        counted = np.searchsorted(np.sort(self.end_s[self.is_ok]), time_s)
        return np.asarray(counted, dtype=float)

    def cpu_until(self, time_s: Floats) -> Floats | None:
        """Give the server's CPU seconds until each of some times, by interpolation."""
        usage = self.document["usage"]
        if not usage or not max(usage["processes"], default=0):
            return None
        cpu_s: Floats = np.interp(time_s, usage["time_s"], usage["cpu_s"])
        return cpu_s

    @cached_property
    def summary(self) -> Summary:
        """What it comes to."""
        latencies = self.latency_ms[self.is_measured & self.is_ok]
        answers = float(np.diff(self.answers_until(np.asarray(self.window)))[0])
        cpu = self.cpu_until(np.asarray(self.window))
        cpu_s = None if cpu is None else float(cpu[1] - cpu[0])
        usage = self.document["usage"]
        client = self.document["client"]
        return Summary(
            requests=int(self.is_measured.sum()),
            errors=int((self.is_measured & ~self.is_ok).sum()),
            throughput=answers / self.seconds,
            latency_ms=_latencies(latencies),
            cpu_ms=None if cpu_s is None or not answers else cpu_s / answers * 1e3,
            cores=None if cpu_s is None else cpu_s / self.seconds,
            rss_mb=None if cpu_s is None else max(usage["rss_bytes"]) / 1e6,
            client_cores=client["cpu_s"] / client["seconds"],
        )

    def summary_dict(self) -> dict[str, Any]:
        """Give the summary as the file holds it."""
        return asdict(self.summary)


def _latencies(values: Floats) -> dict[str, float]:
    if not len(values):
        return {name: float("nan") for name in (*PERCENTILES, "mean", "max")}
    found = {name: float(np.percentile(values, share)) for name, share in PERCENTILES.items()}
    return {**found, "mean": float(values.mean()), "max": float(values.max())}


def window_medians(
    start_s: Floats, latency_ms: Floats, window: tuple[float, float], count: int
) -> list[float]:
    """Give the median latency of each of so many equal stretches of a time; NaN without any."""
    edges = np.linspace(*window, count + 1)
    place = np.digitize(start_s, edges) - 1
    return [
        float(np.median(latency_ms[place == index])) if (place == index).any() else np.nan
        for index in range(count)
    ]
