"""2,000 runs with equal arms, each looked at 100 times: at most 5% false alarms."""

from __future__ import annotations

import numpy as np
import pytest

from marina.rollout import simulation
from marina.rollout.quantiles import BINS, QuantileRatio
from marina.rollout.rates import RateDifference

RUNS, PEEKS, ALPHA = 2000, 100, 0.05


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("rate", [0.002, 0.1])
def test_rates_while_weights_and_rates_change(rng: np.random.Generator, rate: float) -> None:
    assert simulation.rate_alarms(rng, RUNS, PEEKS, ALPHA, rate=rate) <= ALPHA


def test_a_z_test_would_alarm(rng: np.random.Generator) -> None:
    """The simulation has teeth: peeking misleads a test that was made for one look."""
    shares = simulation.z_test_alarms(rng, RUNS, PEEKS, ALPHA)
    assert shares[0] <= 1.5 * ALPHA
    assert shares[-1] > 0.25


def test_thrown_together_the_steps_would_alarm(rng: np.random.Generator) -> None:
    """What the strata are for: rates and weights that rise together are no difference."""
    strata = [(1900 * 0.02, 1900, 2.0, 100), (1600 * 0.2, 1600, 80, 400)]
    pooled = [tuple(np.sum(strata, axis=0))]
    threshold = np.log(2 / ALPHA)
    assert RateDifference.of(pooled).log_e(0.0, above=True) > threshold
    assert RateDifference.of(strata).log_e(0.0, above=True) < 0


@pytest.mark.parametrize("level", [0.5, 0.99])
def test_latency_quantiles(rng: np.random.Generator, level: float) -> None:
    found = simulation.latency_detections(rng, RUNS, PEEKS, ALPHA, level=level)
    assert np.isfinite(found).mean() <= ALPHA


def test_a_mean(rng: np.random.Generator) -> None:
    assert simulation.mean_alarms(rng, RUNS, PEEKS, ALPHA) <= ALPHA


def test_a_split_and_paired_answers(rng: np.random.Generator) -> None:
    assert simulation.split_alarms(rng, RUNS, PEEKS, ALPHA) <= ALPHA
    assert simulation.paired_alarms(rng, RUNS, PEEKS, ALPHA) <= ALPHA


def test_real_differences_are_found(rng: np.random.Generator) -> None:
    worse = simulation.rate_detections(
        rng, 100, PEEKS, ALPHA, rate=0.02, effect=0.1, requests_per_peek=100
    )
    assert np.isfinite(worse).mean() > 0.95
    slower = simulation.latency_detections(rng, 50, PEEKS, ALPHA, level=0.5, bins_slower=30)
    assert np.isfinite(slower).all()
    assert simulation.split_alarms(rng, 100, PEEKS, ALPHA, observed=0.15) > 0.95


def test_the_simulated_latency_evidence_is_the_library_s_own(rng: np.random.Generator) -> None:
    """The simulation looks the evidence up in tables: the same call comes from `QuantileRatio`."""
    each, bins = 2000, 260
    base, cand = (
        np.clip(rng.normal(bins / 2 + slower, 30, each).astype(int), 0, bins - 1)
        for slower in (0, 6)
    )
    counts = np.stack([np.bincount(arm, minlength=BINS) for arm in (base, cand)]).astype(float)
    ratio = QuantileRatio(counts[:1], counts[1:], 0.5)
    below = np.concatenate([[0], counts[0].cumsum()])
    passed = np.concatenate([[0], counts[1].cumsum()])
    from marina.rollout.betting import log_e_share

    table = log_e_share(below[:-1], each, 0.5, above=True) + log_e_share(
        passed[1:], each, 0.5, above=False
    )
    assert ratio.log_e(0.0, above=True) == pytest.approx(table.min())
