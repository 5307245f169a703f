"""Simulate rollouts: false alarms under peeking, and power. Writes docs/rollout-statistics.svg.

    .venv/bin/python scripts/rollout_simulation.py

Takes some minutes. The plot and the table below it in docs/rollout-statistics.md are its output.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("svg")
import matplotlib.pyplot as plt

from marina.files import write_whole
from marina.rollout import simulation

DOCS = Path(__file__).parent.parent / "docs"
ALPHA, RUNS, PEEKS, SEED = 0.05, 2000, 100, 20260101


def called_by_look(detections: np.ndarray, requests_per_peek: int) -> np.ndarray:
    """Give the share of runs called by each look, (PEEKS,)."""
    looks = requests_per_peek * np.arange(1, PEEKS + 1)
    return (detections[:, None] <= looks).mean(axis=0)


def table(rng: np.random.Generator) -> list[tuple[str, float]]:
    """Give the share of A/A runs that each method ever called."""
    naive = simulation.z_test_alarms(rng, RUNS, PEEKS, ALPHA)
    rows = [("z-test of rates, looked at 100 times", float(naive[-1]))]
    for rate in (0.001, 0.02, 0.3):
        share = simulation.rate_alarms(rng, RUNS, PEEKS, ALPHA, rate=rate)
        rows.append((f"difference of rates near {rate:.1%}, weights and rates changing", share))
    for level in (0.5, 0.99):
        found = simulation.latency_detections(rng, RUNS, PEEKS, ALPHA, level=level)
        rows.append((f"ratio of p{100 * level:.0f}", float(np.isfinite(found).mean())))
    rows.append(("interval of a mean", simulation.mean_alarms(rng, RUNS, PEEKS, ALPHA)))
    rows.append(("split other than declared", simulation.split_alarms(rng, RUNS, PEEKS, ALPHA)))
    rows.append(("McNemar, paired answers", simulation.paired_alarms(rng, RUNS, PEEKS, ALPHA)))
    return rows


def plot(rng: np.random.Generator) -> None:
    """Draw false alarms by look, and power for rates and latency."""
    figure, (alarms, rates, latency) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    looks = np.arange(1, PEEKS + 1)
    found = simulation.rate_detections(
        rng, RUNS, PEEKS, ALPHA, rate=0.02, effect=0.0, requests_per_peek=100
    )
    naive = simulation.z_test_alarms(rng, RUNS, PEEKS, ALPHA)
    alarms.plot(looks, naive, label="z-test at each look")
    alarms.plot(looks, called_by_look(found, 100), label="marina")
    alarms.axhline(ALPHA, color="black", linewidth=0.8, linestyle=":", label="stated: 5%")
    alarms.set(title="Equal arms: ever called different", xlabel="look", ylabel="share of runs")
    for effect in (0.01, 0.02, 0.04, 0.08):
        each = 400
        found = simulation.rate_detections(
            rng, 300, PEEKS, ALPHA, rate=0.02, effect=effect, requests_per_peek=each
        )
        rates.plot(looks * each, called_by_look(found, each), label=f"+{effect:.0%}")
    rates.set(
        title="Errors: 2% and more in the candidate\n(weights 5%, 20%, 50%)", xlabel="requests"
    )
    for bins in (5, 10, 20, 40):
        for level, style in ((0.5, "-"), (0.99, "--")):
            each = 100
            found = simulation.latency_detections(
                rng, 300, PEEKS, ALPHA, level=level, bins_slower=bins, requests_per_peek=each
            )
            label = f"×{1.01**bins:.2f}, p{100 * level:.0f}"
            latency.plot(looks * each, called_by_look(found, each), style, label=label)
    latency.set(title="Latency: slower by a factor\n(weights 50%)", xlabel="requests")
    for axis in (alarms, rates, latency):
        axis.legend(fontsize=8)
        axis.set_ylim(-0.02, 1.02)
    DOCS.mkdir(exist_ok=True)
    figure.savefig(DOCS / "rollout-statistics.svg", metadata={"Date": None})


def main() -> None:
    """Simulate, draw, write."""
    rng = np.random.default_rng(SEED)
    rows = table(rng)
    plot(rng)
    lines = [
        "# How often the verdicts are wrong, and how soon they are right",
        "",
        "![false alarms and power](rollout-statistics.svg)",
        "",
        f"{RUNS:,} runs with equal arms, each looked at {PEEKS} times, α = {ALPHA:.0%}. Share of "
        "runs in which some look raised a false alarm:",
        "",
        "| method | false alarms |",
        "| --- | --- |",
        *(f"| {name} | {share:.2%} |" for name, share in rows),
        "",
        "Made by `scripts/rollout_simulation.py`. What each method does, and the paper it comes "
        "from, stand in `marina/rollout/{betting,rates,quantiles,multinomial}.py`. Weights and "
        "rates change within each simulated run, and are the same for both arms.",
        "",
        "All of it takes requests for independent of each other. Where a split is sticky, a user's "
        "requests are not: with few heavy users, intervals are too narrow. An interval is that of "
        "one difference which all steps share; a verdict says so where what was seen lies outside.",
        "",
    ]
    write_whole(DOCS / "rollout-statistics.md", "\n".join(lines))
    for name, share in rows:
        print(f"{share:7.2%}  {name}")


if __name__ == "__main__":
    main()
