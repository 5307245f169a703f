from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from marina.rollout.betting import log_e_mean, log_e_share
from marina.rollout.comparison import Conclusion, interval, judge
from marina.rollout.drift import ClassMix
from marina.rollout.multinomial import McNemar, log_e_multinomial
from marina.rollout.quantiles import QuantileRatio, bin_of, dense, edge_ms, quantile_ms
from marina.rollout.rates import Mean, RateDifference, minimum

ALPHA = 0.05


def histogram(latencies: np.ndarray) -> dict[int, float]:
    counts: dict[int, float] = {}
    for latency in latencies:
        counts[bin_of(latency)] = counts.get(bin_of(latency), 0) + 1
    return counts


@pytest.mark.parametrize("share", [0.01, 0.5, 0.97])
@pytest.mark.parametrize("above", [True, False])
def test_a_bet_is_fair_under_its_hypothesis(share: float, above: bool) -> None:
    """The e-value of one outcome has the mean 1: summed over all outcomes, exactly."""
    trials = 12
    outcomes = np.arange(trials + 1)
    probability = [math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in outcomes]
    evidence = np.exp(log_e_share(outcomes, trials, share, above=above))
    assert probability @ evidence == pytest.approx(1.0)


def test_the_sequential_multinomial_test_is_fair_too() -> None:
    shares, trials = (0.1, 0.9), 15
    counts = np.array([(k, trials - k) for k in range(trials + 1)])
    probability = [math.comb(trials, k) * 0.1**k * 0.9 ** (trials - k) for k in range(trials + 1)]
    assert probability @ np.exp(log_e_multinomial(counts, shares)) == pytest.approx(1.0)


def test_evidence_falls_as_the_hypothesis_comes_nearer() -> None:
    means = np.linspace(0.01, 0.99, 50)
    evidence = log_e_mean((0, 1), [30, 70], means, above=True)
    assert (np.diff(evidence) < 0).all()


@pytest.mark.parametrize(("good", "trials"), [(0, 50), (50, 50), (970, 1000), (3, 10_000)])
def test_an_interval_holds_what_was_seen_and_is_wider_than_a_single_look(
    good: int, trials: int
) -> None:
    low, high = interval(Mean.of_share(good, trials), ALPHA)
    once = binomtest(good, trials).proportion_ci(1 - ALPHA)
    assert low <= once.low + 1e-4
    assert high >= once.high - 1e-4
    assert high - low < 2.5 * (once.high - once.low) + 2e-4


@pytest.mark.parametrize(
    ("strata", "expected"),
    [
        ([(10, 1000, 12, 1000)], Conclusion.UNDECIDED),
        ([(10, 9000, 30, 1000)], Conclusion.WORSE),
        ([(900, 9000, 30, 1000)], Conclusion.BETTER),
        ([(0, 9000, 0, 2000)], Conclusion.SAME),
        ([(100, 10_000, 102, 10_000)], Conclusion.SAME),
        ([(5, 100, 0, 0)], Conclusion.NO_DATA),
        ([], Conclusion.NO_DATA),
    ],
)
def test_error_rates_in_words(
    strata: list[tuple[float, float, float, float]], expected: Conclusion
) -> None:
    verdict = judge(RateDifference.of(strata), 0.01, ALPHA, higher_is_better=False)
    assert verdict.conclusion is expected
    assert (verdict.more_requests is not None) == (expected is Conclusion.UNDECIDED)
    if not math.isnan(verdict.estimate):
        assert verdict.low <= verdict.estimate <= verdict.high


def test_a_large_baseline_does_not_hide_a_small_candidate() -> None:
    """With a thousand times the requests the baseline's rate is known; the candidate's decides."""
    data = RateDifference.of([(4600, 4_600_000, 512, 51_200)])
    low, high = interval(data, ALPHA)
    alone = interval(Mean.of_share(512, 51_200), ALPHA)
    assert high - low < 1.5 * (alone[1] - alone[0])


def test_accuracy_turns_the_words_round() -> None:
    fewer = RateDifference.of([(990, 1000, 900, 1000)])
    assert judge(fewer, 0.01, ALPHA, higher_is_better=True).conclusion is Conclusion.WORSE


def test_the_forecast_comes_true_if_the_rates_stay() -> None:
    data = RateDifference.of([(20, 1000, 32, 1000)])
    verdict = judge(data, 0.005, ALPHA, higher_is_better=False)
    assert verdict.more_requests is not None
    later = data.scaled(1 + verdict.more_requests / data.requests)
    assert judge(later, 0.005, ALPHA, higher_is_better=False).conclusion is Conclusion.WORSE
    sooner = data.scaled(1 + 0.8 * verdict.more_requests / data.requests)
    assert judge(sooner, 0.005, ALPHA, higher_is_better=False).conclusion is Conclusion.UNDECIDED


def test_a_forecast_beyond_sight_is_infinite() -> None:
    data = RateDifference.of([(2, 10, 2, 10)])
    verdict = judge(data, 1e-6, ALPHA, higher_is_better=False)
    assert verdict.more_requests == math.inf


@pytest.mark.parametrize("level", [0.5, 0.99])
def test_a_latency_ratio_is_covered(level: float) -> None:
    rng = np.random.default_rng(3)
    base, cand = (np.exp(rng.normal(2, 0.3, 20_000)) for _ in range(2))
    data = QuantileRatio.of([(histogram(base), histogram(1.3 * cand))], level)
    verdict = judge(data, math.log(1.1), ALPHA, higher_is_better=False)
    assert verdict.conclusion is Conclusion.WORSE
    assert math.exp(verdict.low) < 1.3 < math.exp(verdict.high)
    assert math.exp(verdict.high - verdict.low) < 1.35
    turned = QuantileRatio.of([(histogram(1.3 * cand), histogram(base))], level)
    assert judge(turned, 0.1, ALPHA, higher_is_better=False).conclusion is Conclusion.BETTER


def test_a_p99_of_few_requests_stays_open() -> None:
    rng = np.random.default_rng(3)
    base, cand = (np.exp(rng.normal(2, 0.3, 100)) for _ in range(2))
    data = QuantileRatio.of([(histogram(base), histogram(cand))], 0.99)
    verdict = judge(data, math.log(1.5), ALPHA, higher_is_better=False)
    assert verdict.conclusion is Conclusion.UNDECIDED
    assert math.exp(verdict.high) > 100


def test_a_slow_hour_is_no_difference_of_the_arms() -> None:
    rng = np.random.default_rng(5)
    hours = [(1.0, 1800, 200), (3.0, 400, 1600)]  # latency triples as the weight rises
    strata = [
        (
            histogram(factor * np.exp(rng.normal(2, 0.3, base))),
            histogram(factor * np.exp(rng.normal(2, 0.3, cand))),
        )
        for factor, base, cand in hours
    ]
    together = tuple(
        dict(sum((Counter(pair[arm]) for pair in strata), Counter())) for arm in (0, 1)
    )
    assert QuantileRatio.of([together], 0.5).log_e(0.0, above=True) > 10
    assert QuantileRatio.of(strata, 0.5).log_e(0.0, above=True) < 0


def test_histograms_give_quantiles_to_a_percent() -> None:
    latencies = np.exp(np.random.default_rng(1).normal(3, 1, 5000))
    counts = dense(histogram(latencies))
    for level in (0.5, 0.99):
        exact = np.quantile(latencies, level)
        assert quantile_ms(counts, level) == pytest.approx(exact, rel=0.02)
    assert math.isnan(quantile_ms(dense({}), 0.5))
    assert edge_ms(bin_of(17.0)) <= 17.0 < edge_ms(bin_of(17.0) + 1)
    assert bin_of(0) == bin_of(-1) == 0


def test_class_mix_names_the_class_that_moved() -> None:
    even = {str(digit): 200.0 for digit in range(10)}
    moved = even | {"7": 20.0, "1": 380.0}
    same = ClassMix.of([(even, even)], classes=10)
    assert same.conclude(0.05, ALPHA) is Conclusion.SAME
    drifted = ClassMix.of([(even, moved)], classes=10)
    assert drifted.conclude(0.05, ALPHA) is Conclusion.WORSE
    shift = drifted.largest(ALPHA)
    assert shift is not None
    assert shift.label in {"1", "7"}
    assert max(abs(shift.low), abs(shift.high)) > 0.05
    assert ClassMix.of([(even, {})], classes=10).conclude(0.05, ALPHA) is Conclusion.NO_DATA
    assert ClassMix.of([], classes=10).largest(ALPHA) is None


def test_mcnemar_exact_is_the_binomial_test_and_the_e_value_is_slower() -> None:
    pairs = McNemar(candidate_only=15, baseline_only=5)
    assert pairs.p_value == pytest.approx(binomtest(5, 20).pvalue)
    assert pairs.p_value < ALPHA
    assert not pairs.differs(ALPHA)
    assert McNemar(30, 5).differs(ALPHA)
    assert not McNemar(0, 0).differs(ALPHA)


def test_paired_answers_give_a_difference_of_accuracies() -> None:
    paired = Mean(np.array([-1.0, 0.0, 1.0]), np.array([5.0, 965.0, 30.0]))
    low, high = interval(paired, ALPHA)
    assert 0 < low < 0.025 < high < 0.06


def test_minimum_finds_the_bottom_of_each_function() -> None:
    centers = np.array([0.1, 0.62, 0.999])
    found = minimum(lambda x: (x - centers) ** 2, np.zeros(3), np.ones(3))
    assert found == pytest.approx(np.zeros(3), abs=1e-9)
