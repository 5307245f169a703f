"""Measuring: run a load against a server, read what it uses, and keep everything."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from marina.bench import machine
from marina.bench.result import FORMAT, OK, Result, window_medians
from marina.bench.stability import WINDOWS, judge
from marina.bench.target import Target
from marina.bench.usage import Meter, server_roots
from marina.client.answer import read_error
from marina.errors import BenchError
from marina.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marina.bench.generator import Drive, LoadGenerator
    from marina.bench.images import ImageSet
    from marina.bench.load import Load

_LEAST_PER_WINDOW = 4


def measure(
    generator: LoadGenerator,
    load: Load,
    images: ImageSet,
    *,
    target: Target | None = None,
    roots: Callable[[], Sequence[int]] | None = None,
    title: str = "bench",
) -> Result:
    """Run one load and give its result.

    Args:
        generator: Sends the requests.
        load: What to send.
        images: Where the load's images come from.
        target: What answers.
        roots: Gives the server's processes; None takes those that listen at the load's address.
        title: Of the progress bar.

    Raises:
        ClientError: The server answers the first image with an error.
        BenchError: The load generator failed, or no request was answered.
    """
    _probe(generator, load)
    listeners = server_roots(load.url) if roots is None else []
    started = datetime.now(UTC)
    with Meter(roots or (lambda: listeners)) as meter:
        drive = _drive(generator, load, title)
    if OK not in drive.status:
        first = next(iter(drive.errors), "no request was made")
        raise BenchError(f"no request was answered within {load.duration_s:g} s; first: {first}")
    window, stability = _steady(drive, load)
    return Result(
        {
            "format": FORMAT,
            "started": started.isoformat(timespec="seconds"),
            "load": load.as_dict(),
            "images": images.as_dict(),
            "target": (target or Target()).as_dict(),
            "environment": machine.describe(),
            "window": window,
            "stability": stability,
            "samples": {
                "start_s": drive.start_s,
                "latency_ms": drive.latency_ms,
                "status": drive.status,
                "upstream_ms": drive.upstream_ms,
            },
            "errors": drive.errors,
            "usage": vars(meter.usage),
            "client": {"cpu_s": drive.cpu_s, "seconds": drive.ended_s - drive.started_s},
        }
    )


def _probe(generator: LoadGenerator, load: Load) -> None:
    status, body = generator.probe(load)
    if status != OK:
        raise read_error(body.encode(), status or 503)


def _drive(generator: LoadGenerator, load: Load, title: str) -> Drive:
    """Run the load behind a progress bar of its seconds."""
    began = time.monotonic()
    seconds = round(load.warmup_s + load.duration_s)
    with progress_bar(title, seconds) as bar:
        shown = 0

        def tick() -> None:
            nonlocal shown
            elapsed = min(seconds, int(time.monotonic() - began))
            if elapsed > shown:
                note = "warming up" if elapsed < load.warmup_s else str(load)
                bar.advance(elapsed - shown, note=note)
                shown = elapsed

        drive = generator.drive(load, on_tick=tick)
        bar.advance(seconds - shown, note=str(load))
    return drive


def _steady(drive: Drive, load: Load) -> tuple[list[float], dict[str, Any]]:
    """Cut off what is still warm-up after the warm-up, and judge the rest."""
    begin, end = drive.started_s + load.warmup_s, drive.ended_s
    start_s, latency_ms = np.asarray(drive.start_s), np.asarray(drive.latency_ms)
    measured = (start_s >= begin) & (start_s < end) & (np.asarray(drive.status) == OK)
    count = min(WINDOWS, int(measured.sum()) // _LEAST_PER_WINDOW)
    if count == 0:
        raise BenchError(
            f"{int(measured.sum())} answers in {load.duration_s:g} s are too few: --duration longer"
        )
    medians = window_medians(start_s[measured], latency_ms[measured], (begin, end), count)
    stability = judge(medians)
    begin += (end - begin) * stability.warmup_windows / count
    return [begin, end], stability.as_dict()
