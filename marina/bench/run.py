"""``marina bench run``: one measurement of a running server, its plots and its report."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marina.bench.ceiling import known_ceiling
from marina.bench.generator import LoadGenerator
from marina.bench.images import ImageSet, find_images
from marina.bench.limits import Verdict, read_limits
from marina.bench.load import Arrivals, Load, Protocol
from marina.bench.measurement import measure
from marina.bench.plots import plot_all
from marina.bench.report import write_report
from marina.bench.result import Result
from marina.bench.target import Target, find_target

if TYPE_CHECKING:
    from collections.abc import Iterator

_URLS: dict[Protocol, str] = {"rest": "http://127.0.0.1:8080", "grpc": "127.0.0.1:7070"}


@dataclass(frozen=True)
class Job:
    """What to measure; see `Load` for the load itself.

    Attributes:
        images: See `marina.bench.images.find_images`.
        slo: Limits, see `marina.bench.limits.read_limits`.
        out: Folder of the result; None names one after the model and the time.
        log_dir: Folder of the ``serve.json`` that tells what is served.
    """

    url: str | None = None
    model: str = "resnet"
    version: str | None = None
    users: int = 1
    rate: float | None = None
    arrivals: Arrivals = "uniform"
    duration_s: float = 30.0
    warmup_s: float = 5.0
    images: str | None = None
    protocol: Protocol = "rest"
    slo: str = ""
    out: Path | None = None
    log_dir: Path = Path("logs")


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Attributes:
        result: The measurement.
        verdicts: Of each limit.
        folder: Holds ``result.json``, the plots and ``report.html``.
    """

    result: Result
    verdicts: list[Verdict]
    folder: Path

    @property
    def missed(self) -> list[str]:
        """The limits that were missed, and by what."""
        return [f"{v.limit} (found {v.found:.4g})" for v in self.verdicts if not v.is_met]

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``--json`` prints it: all but the samples."""
        left_out = {"samples", "usage", "format"}
        document = {k: v for k, v in self.result.document.items() if k not in left_out}
        return {"folder": str(self.folder), **document}


@dataclass(frozen=True)
class Ready:
    """A job with everything at hand that it takes.

    Attributes:
        target: What answers.
        images: What is sent.
        load: How.
        generator: Who sends it.
    """

    target: Target
    images: ImageSet
    load: Load
    generator: LoadGenerator


@contextmanager
def prepared(job: Job) -> Iterator[Ready]:
    """Find target and images of a job, and hold a load generator for it while a block runs.

    Raises:
        BenchError: The job is not sound.
    """
    url = job.url or _URLS[job.protocol]
    target = find_target(url, job.model, job.version, job.log_dir)
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as scratch:
        images = find_images(job.images, target.archive, Path(scratch))
        load = Load(
            url=url,
            images=images.files,
            model=job.model,
            version=job.version,
            protocol=job.protocol,
            users=job.users,
            rate=job.rate,
            arrivals=job.arrivals,
            duration_s=job.duration_s,
            warmup_s=job.warmup_s,
        )
        with LoadGenerator() as generator:
            yield Ready(target, images, load, generator)


def run_job(job: Job) -> Done:
    """Measure a running server.

    Raises:
        ClientError: The server does not answer, or with an error.
        BenchError: The job is not sound, or no request was answered.
    """
    limits = read_limits(job.slo)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = job.out or Path("bench") / f"{job.model}-{stamp}"
    with prepared(job) as ready:
        result = measure(ready.generator, ready.load, ready.images, target=ready.target)
    document = result.document
    document["limit"] = known_ceiling(document["target"]["sha256"], document["images"]["sha256"])
    document["summary"] = result.summary_dict()
    result.write(folder)  # before a limit may turn out to be on what was not measured
    verdicts = [limit.check(result.summary) for limit in limits]
    document["slo"] = [verdict.as_dict() for verdict in verdicts]
    result.write(folder)
    write_report(result, plot_all(result, folder), folder)
    return Done(result, verdicts, folder)
