"""Plots of measurements, as PNG files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib.figure import Figure

from marina.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from marina.bench.result import Result
    from marina.bench.search import Point

_MOST_POINTS = 20_000
_WINDOWS = 30


def plot_all(result: Result, folder: Path) -> list[Path]:
    """Draw a result's plots into a folder.

    Returns:
        The files: latency over time, its distribution, throughput and CPU over time.
    """
    drawn = {
        "latency_over_time.png": _over_time,
        "latency_distribution.png": _distribution,
        "throughput.png": _throughput,
    }
    files = []
    for name, draw in drawn.items():
        figure = Figure(figsize=(9, 4), layout="constrained")
        draw(figure.subplots(), result)
        files.append(folder / name)
        save(figure, files[-1])
    return files


def save(figure: Figure, file: Path) -> None:
    """Write a figure as PNG, whole."""
    with whole_file(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _over_time(axes: Axes, result: Result) -> None:
    begin, end = result.window
    step = max(1, len(result.start_s) // _MOST_POINTS)
    for name, chosen, color in (
        ("answered", result.is_ok, "tab:blue"),
        ("failed", ~result.is_ok, "tab:red"),
    ):
        if chosen.any():
            times, values = result.start_s[chosen] - begin, result.latency_ms[chosen]
            axes.plot(times[::step], values[::step], ".", ms=3, alpha=0.5, color=color, label=name)
    axes.axvspan(min(0.0, float(result.start_s.min() - begin)), 0, color="0.9", label="warm-up")
    for name in ("p50", "p99"):
        value = result.summary.latency_ms[name]
        axes.hlines(value, 0, end - begin, color="0.3", lw=1)
        axes.annotate(f"{name} {value:.1f} ms", (end - begin, value), va="bottom", ha="right")
    axes.set(xlabel="s since measuring began", ylabel="latency, ms", title="Every request")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", fontsize="small")


def _distribution(axes: Axes, result: Result) -> None:
    values = np.sort(result.latency_ms[result.is_measured & result.is_ok])
    beyond = 1 - np.arange(len(values)) / len(values)
    axes.step(values, beyond, where="post")
    axes.set(
        yscale="log",
        xlabel="latency, ms",
        ylabel="share of requests that took longer",
        title=f"Distribution of {len(values)} answers",
    )
    for name, share in (("p50", 0.5), ("p90", 0.1), ("p99", 0.01)):
        axes.axhline(share, color="0.8", lw=0.8)
        axes.annotate(name, (values[0], share), va="bottom", fontsize="small")
    axes.grid(axis="x", alpha=0.3)


def _throughput(axes: Axes, result: Result) -> None:
    begin, end = result.window
    edges = np.linspace(begin, end, _WINDOWS + 1)
    width = (end - begin) / _WINDOWS
    axes.stairs(np.diff(result.answers_until(edges)) / width, edges - begin, label="answers/s")
    axes.set(xlabel="s since measuring began", ylabel="answers per second")
    axes.set_ylim(bottom=0)
    cpu = result.cpu_until(edges)
    if cpu is not None:
        beside = axes.twinx()
        beside.stairs(np.diff(cpu) / width, edges - begin, color="tab:orange")
        beside.set(ylabel="server's busy cores (orange)")
        beside.set_ylim(bottom=0)
    axes.set_title(f"{result.summary.throughput:.1f} answers per second")


def plot_pareto(
    points: Sequence[Point], frontier: Sequence[Point], best: Point | None, file: Path
) -> None:
    """Draw throughput against p99, and the settings that no other one beats in both."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for point in points:
        color = "tab:blue" if point.is_allowed else "0.7"
        axes.plot(point.p99_ms, point.summary.throughput, "o", color=color)
    axes.plot(
        [point.p99_ms for point in frontier],
        [point.summary.throughput for point in frontier],
        color="0.4",
        lw=1,
        label="no other setting is better in both",
    )
    for point in frontier:
        where = (point.p99_ms, point.summary.throughput)
        axes.annotate(f" {point.setting}", where, fontsize="small")
    if best is not None:
        axes.plot(
            best.p99_ms, best.summary.throughput, "*", ms=16, color="tab:orange", label="chosen"
        )
    axes.set(xlabel="p99, ms", ylabel="answers per second", xscale="log")
    axes.legend(loc="lower right", fontsize="small")
    save(figure, file)
