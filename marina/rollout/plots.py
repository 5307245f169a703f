"""The report's plots, as SVG text."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from marina.rollout.gates import Evidence, Status
from marina.rollout.journal import Event
from marina.rollout.quantiles import dense, edge_ms
from marina.rollout.tally import ArmTally, Tally

ARMS = {"baseline": "tab:blue", "candidate": "tab:orange"}
COLORS = {
    Status.PASSED: "tab:green",
    Status.BREACHED: "tab:red",
    Status.OPEN: "tab:gray",
    Status.NO_DATA: "tab:gray",
}
BUCKETS = 120
WIDEST = 3.0  # multiples of a limit that are drawn; what lies beyond is an arrow at the edge


def traffic(events: Sequence[Event]) -> str:
    """Draw the requests per second of each arm and its failures, and what was decided when."""
    begin = events[0]["at"]
    series = _series(events)
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots()
    if series:
        times, rates = _rates(series)
        axes.stackplot(
            times,
            [rates[arm, "requests"] for arm in ARMS],
            labels=list(ARMS),
            colors=list(ARMS.values()),
            step="post",
            alpha=0.6,
        )
        failures = sum(rates[arm, "failures"] for arm in ARMS)
        axes.plot(times, failures, color="tab:red", label="failures", drawstyle="steps-post")
    for event in events:
        if event["event"] in {"decided", "commanded"}:
            axes.axvline(event["at"] - begin, color="black", linewidth=0.8)
            axes.annotate(
                event["action"],
                (event["at"] - begin, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="right",
                fontsize=8,
            )
    axes.set(xlabel="seconds since the start", ylabel="requests per second")
    if series:
        axes.legend(loc="upper left", fontsize=8)
    return _svg(figure)


def latency(tally: Tally, versions: Mapping[str, str]) -> str:
    """Draw how many of each arm's answers were faster than so many milliseconds."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots()
    for arm, color in ARMS.items():
        counts: ArmTally = getattr(tally, arm)
        histogram = dense(counts.latency)
        seen = np.flatnonzero(histogram)
        if not seen.size:
            continue
        window = slice(seen[0], seen[-1] + 1)
        shares = histogram[window].cumsum() / histogram.sum()
        edges = [edge_ms(place + 1) for place in range(window.start, window.stop)]
        axes.step(edges, shares, where="post", color=color, label=f"{arm} {versions[arm]}")
    for level in (0.5, 0.99):
        axes.axhline(level, color="gray", linewidth=0.6, linestyle=":")
    axes.set(xscale="log", xlabel="latency in milliseconds", ylabel="share of the answers")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(StrMethodFormatter("{x:g}"))
    if axes.lines and axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    return _svg(figure)


def gates(evidence: Sequence[Evidence]) -> str:
    """Draw each gate's interval against its limit, in units of the limit."""
    shown = [each for each in evidence if each.low is not None]
    figure = Figure(figsize=(10, 0.6 + 0.45 * max(1, len(shown))), layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(reversed(shown)):
        low, middle, high = (_scaled(each, value) for value in (each.low, each.estimate, each.high))
        color = COLORS[each.status]
        axes.plot([low, high], [place, place], color=color, linewidth=4, solid_capstyle="butt")
        marker = {-WIDEST: "<", WIDEST: ">"}.get(middle, "o")
        axes.plot([middle], [place], marker, color=color, clip_on=False)
    axes.axvline(1, color="black", linewidth=1)
    axes.axvline(0, color="gray", linewidth=0.6, linestyle=":")
    axes.set_yticks(range(len(shown)), [each.gate for each in reversed(shown)])
    axes.set(
        xlim=(-WIDEST, WIDEST), xlabel="0: no difference, 1: the limit; a class may move either way"
    )
    return _svg(figure)


def _scaled(each: Evidence, value: float | None) -> float:
    """Give a value as a multiple of the limit: 0 is no difference, 1 is the limit."""
    if value is None:
        return 0.0
    if each.gate.endswith("_ratio"):
        return _clip(math.log(max(value, 1e-9)) / math.log(each.limit))
    if each.gate == "shadow_agreement":
        return _clip((1 - value) / (1 - each.limit))
    return _clip(value / each.limit)


def _clip(value: float) -> float:
    return min(WIDEST, max(-WIDEST, value))


def _series(events: Sequence[Event]) -> list[tuple[float, dict[Any, int]]]:
    """Give what was observed, as (seconds since the start, counts per arm)."""
    begin = events[0]["at"]
    found: list[tuple[float, dict[Any, int]]] = []
    for event in events:
        if event["event"] != "observed":
            continue
        counts: dict[Any, int] = {
            (arm, name): 0 for arm in ARMS for name in ("requests", "failures")
        }
        for tally in event["tallies"].values():
            for arm, name in counts:
                counts[arm, name] += tally.get(arm, {}).get(name, 0)
        found.append((event["at"] - begin, counts))
    return found


def _rates(series: Sequence[tuple[float, Any]]) -> tuple[Any, dict[tuple[str, str], Any]]:
    """Give requests per second over at most some hundred stretches between two observations."""
    ends = np.array([at for at, _ in series])
    stride = -(-len(series) // BUCKETS)
    edges = np.unique([0.0, *ends[::-1][::stride]])  # the last observation ends the last stretch
    if len(edges) == 1:
        edges = np.array([0.0, 1.0])
    places = np.clip(np.searchsorted(edges, ends) - 1, 0, None)
    rates = {}
    for key in series[0][1]:
        sums = np.zeros(len(edges) - 1)
        np.add.at(sums, places, [counts[key] for _, counts in series])
        sums /= np.diff(edges)
        rates[key] = np.append(sums, sums[-1])  # a step needs its right end
    return edges, rates


def _svg(figure: Figure) -> str:
    """Give a figure as an SVG element that can stand in a page, the same each time."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "marina"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]
