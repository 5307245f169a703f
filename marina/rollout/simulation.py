"""Rollouts that never were: how often the verdicts are wrong, and how soon they are right.

Each function simulates many runs, looks at each of them many times and gives the share of runs in
which some look rejected the truth. `scripts/rollout_simulation.py` draws the curves.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm

from marina.rollout.betting import FloatArray, log_e_mean, log_e_share
from marina.rollout.multinomial import log_e_multinomial
from marina.rollout.rates import RateDifference

Rng = np.random.Generator

# A day on which the weights rise, the rates double and swing within each step: what looks like a
# difference if the steps are thrown together.
STEP_WEIGHTS = (0.05, 0.2, 0.5)
STEP_FACTORS = (1.0, 1.5, 2.0)
SWING = 0.5


def rate_alarms(
    rng: Rng,
    runs: int,
    peeks: int,
    alpha: float,
    *,
    rate: float = 0.02,
    effect: float = 0.0,
    requests_per_peek: int = 100,
) -> float:
    """Give the share of runs in which the difference of two rates was ever called non-zero.

    Each run passes through `STEP_WEIGHTS`, with the rate times `STEP_FACTORS` and its swing.

    Args:
        rng: Source of chance.
        runs: How many.
        peeks: Looks per run.
        alpha: What the share may be at most, if ``effect`` is 0.
        rate: Of the baseline in the first step.
        effect: The candidate's rate less the baseline's.
        requests_per_peek: Of both arms together.
    """
    detected = rate_detections(
        rng, runs, peeks, alpha, rate=rate, effect=effect, requests_per_peek=requests_per_peek
    )
    return float(np.isfinite(detected).mean())


def rate_detections(
    rng: Rng,
    runs: int,
    peeks: int,
    alpha: float,
    *,
    rate: float,
    effect: float,
    requests_per_peek: int,
) -> FloatArray:
    """Give, (runs,), the requests after which a difference was called; infinity for never."""
    step = np.arange(peeks) * len(STEP_WEIGHTS) // peeks  # (peeks,)
    swing = 1 + SWING * np.sin(np.arange(peeks) / 3)
    base = np.clip(rate * swing * np.array(STEP_FACTORS)[step], 0, 1)
    candidate = rng.binomial(requests_per_peek, np.array(STEP_WEIGHTS)[step], (runs, peeks))
    baseline = requests_per_peek - candidate
    increments = (
        rng.binomial(baseline, base),
        baseline,
        rng.binomial(candidate, np.clip(base + effect, 0, 1)),
        candidate,
    )
    in_step = step[:, None] == np.arange(len(STEP_WEIGHTS))  # (peeks, strata)
    counts = [
        (increment[..., None] * in_step).cumsum(axis=1).astype(np.float64)
        for increment in increments
    ]  # each (runs, peeks, strata)
    first = _first_call(RateDifference(*counts), math.log(2 / alpha))  # (runs,)
    return (first + 1) * requests_per_peek


def _first_call(data: RateDifference, threshold: float) -> FloatArray:
    """Give the look, (runs,), at which zero is first rejected on either side; infinity for never.

    The evidence is the smallest over the baseline's unknown rate. Where it falls short of the
    threshold even at the pooled rate, the smallest need not be sought.
    """
    hits = data.baseline_hits + data.candidate_hits
    pooled = (hits + 0.5) / (data.baseline_trials + data.candidate_trials + 1)
    first = np.full(hits.shape[0], np.inf)
    for above in (True, False):
        maybe = data.log_e_at(pooled, 0.0, above=above).sum(axis=-1) >= threshold  # (runs, peeks)
        while (run := np.flatnonzero(maybe.any(axis=1))).size:
            look = maybe[run].argmax(axis=1)
            rows = RateDifference(
                data.baseline_hits[run, look],
                data.baseline_trials[run, look],
                data.candidate_hits[run, look],
                data.candidate_trials[run, look],
            )
            called = rows.log_e_each(0.0, above=above) >= threshold
            first[run[called]] = np.minimum(first[run[called]], look[called])
            maybe[run[called]] = False
            maybe[run, look] = False
    return first


def z_test_alarms(
    rng: Rng, runs: int, peeks: int, alpha: float, *, rate: float = 0.02
) -> FloatArray:
    """Give, (peeks,), the share of runs with equal arms that a z-test has called by each look.

    What everybody does, for comparison: valid for a single look, and wrong for more.
    """
    arms = rng.binomial(50, rate, (2, runs, peeks)).cumsum(axis=2)
    trials = 50 * np.arange(1, peeks + 1)
    pooled = arms.sum(axis=0) / (2 * trials)
    error = np.sqrt(np.maximum(2 * pooled * (1 - pooled) / trials, 1e-12))
    called = np.abs(arms[0] - arms[1]) / trials / error > norm.ppf(1 - alpha / 2)
    shares: FloatArray = np.logical_or.accumulate(called, axis=1).mean(axis=0)
    return shares


def latency_detections(
    rng: Rng,
    runs: int,
    peeks: int,
    alpha: float,
    *,
    level: float,
    bins_slower: int = 0,
    requests_per_peek: int = 40,
) -> FloatArray:
    """Give, (runs,), the requests after which a quantile ratio other than 1 was called.

    The arms take turns. The method sees ranks only, so the distribution does not matter: here a
    lognormal latency with a spread of 30%.

    Args:
        rng: Source of chance.
        runs: How many.
        peeks: Looks per run.
        alpha: Share of false alarms that is allowed.
        level: Of the quantile.
        bins_slower: The candidate's latency is this many 1% bins more.
        requests_per_peek: Of both arms together.
    """
    each = requests_per_peek // 2
    bins = 260
    up, down = (
        np.stack(
            [
                log_e_share(np.arange(each * peeks + 1), n, level, above=above)
                for n in range(each, each * peeks + 1, each)
            ]
        )
        for above in (True, False)
    )  # (peeks, successes + 1) each
    look = np.arange(peeks)[:, None]
    first = np.full(runs, np.inf)
    for run in range(runs):
        base = _cumulative(rng, peeks, each, bins, 0)  # (peeks, bins + 1)
        cand = _cumulative(rng, peeks, each, bins, bins_slower)
        evidence = np.maximum(
            (up[look, base[:, :-1]] + down[look, cand[:, 1:]]).min(axis=1),
            (up[look, cand[:, :-1]] + down[look, base[:, 1:]]).min(axis=1),
        )
        called = evidence >= math.log(2 / alpha)
        if called.any():
            first[run] = (called.argmax() + 1) * requests_per_peek
    return first


def _cumulative(rng: Rng, peeks: int, each: int, bins: int, slower: int) -> np.ndarray:
    """Draw an arm's requests: how many were faster than each edge, look by look."""
    drawn = np.clip((rng.normal(bins / 2 + slower, 30, (peeks, each))).astype(int), 0, bins - 1)
    counts = np.zeros((peeks, bins + 1), dtype=int)
    np.add.at(counts, (np.arange(peeks)[:, None], drawn + 1), 1)
    return counts.cumsum(axis=0).cumsum(axis=1)


def split_alarms(
    rng: Rng, runs: int, peeks: int, alpha: float, *, share: float = 0.1, observed: float = 0.1
) -> float:
    """Give the share of runs in which a split was ever called other than declared."""
    candidate = rng.binomial(50, observed, (runs, peeks)).cumsum(axis=1)
    counts = np.stack([50 * np.arange(1, peeks + 1) - candidate, candidate], axis=-1)
    evidence = log_e_multinomial(counts, (1 - share, share))  # (runs, peeks)
    return float((evidence >= math.log(1 / alpha)).any(axis=1).mean())


def mean_alarms(rng: Rng, runs: int, peeks: int, alpha: float, *, share: float = 0.97) -> float:
    """Give the share of runs in which a mean's interval ever missed the true mean."""
    good = rng.binomial(20, share, (runs, peeks)).cumsum(axis=1)
    counts = np.stack([20 * np.arange(1, peeks + 1) - good, good], axis=-1)
    evidence = np.maximum(
        log_e_mean((0, 1), counts, share, above=True),
        log_e_mean((0, 1), counts, share, above=False),
    )
    return float((evidence >= math.log(2 / alpha)).any(axis=1).mean())


def paired_alarms(rng: Rng, runs: int, peeks: int, alpha: float) -> float:
    """Give the share of runs in which two equally good versions were ever told apart by McNemar."""
    candidate_only = rng.binomial(5, 0.5, (runs, peeks)).cumsum(axis=1)
    counts = np.stack([candidate_only, 5 * np.arange(1, peeks + 1) - candidate_only], axis=-1)
    evidence = log_e_multinomial(counts, (0.5, 0.5))
    return float((evidence >= math.log(1 / alpha)).any(axis=1).mean())
