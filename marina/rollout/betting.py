"""Evidence that stays valid however often it is looked at: bets against a hypothesis.

To test "the mean of these outcomes is at most m", stake a fixed share of a capital of 1 on each
next outcome at odds that are fair if the mean is m. If the hypothesis is true the capital is a
nonnegative supermartingale, so by Ville's inequality (1939) it ever reaches 1/α with probability
at most α: whoever watches it without pause is fooled no more often than who looks once. Such a
capital is called an e-process. The stake that would have won most is not known beforehand, so
the capital is spread evenly over a grid of stakes.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B
86(1), 2024, arXiv:2010.09686 (the bets, and intervals by inverting them); Robbins, "Statistical
methods related to the law of the iterated logarithm", 1970 (mixtures); Ramdas, Grünwald, Vovk &
Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 2023,
arXiv:2210.01948 (the whole). confseq needs a C++ compiler and Boost to install, savvi brings cvxpy
for what is one line below, so neither is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

# Stakes as shares of the capital: from a hundredth of a percent, best after some 10⁷ outcomes, to
# nearly all of it, best where a handful decides.
STAKES: FloatArray = np.geomspace(1e-4, 0.98, 28)
# Share of the capital that is never staked. An arm that speaks against the finding can so take no
# more than log(1 / CASH) from what the other arm, or another stratum, has shown.
CASH = 0.1


def log_e_mean(values: ArrayLike, counts: ArrayLike, mean: ArrayLike, *, above: bool) -> FloatArray:
    """Give the log of the evidence that a bounded outcome's mean lies above (or below) ``mean``.

    The payoff of staking the share f on "above" is 1 − f + f·(v − min)/(mean − min) for the
    outcome v: 1 on average if the mean is ``mean``, less if it is lower. It falls in ``mean``, so
    the means that are not rejected form an interval.

    Args:
        values: (V,), the values that an outcome can take. The smallest and the largest are the
            bounds of the outcome, so they stand here even if nobody saw them.
        counts: (..., V), how often each was seen.
        mean: (...), the hypothesis, within the bounds.
        above: Whether evidence for a larger mean is asked, or for a smaller one.

    Returns:
        (...), the log of an e-value: with probability 1 − α it never reaches log(1/α), however
        many outcomes are added and looked at, if the hypothesis is true.
    """
    outcomes = np.asarray(values, dtype=np.float64)
    if above:
        distance = outcomes - outcomes.min()
        fair = np.asarray(mean, dtype=np.float64) - outcomes.min()
    else:
        distance = outcomes.max() - outcomes
        fair = outcomes.max() - np.asarray(mean, dtype=np.float64)
    fair = np.maximum(fair, 1e-12)
    seen = np.asarray(counts, dtype=np.float64)
    capital: FloatArray = np.zeros(STAKES.shape)
    for value, step in enumerate(distance):
        odds = step / fair[..., None]  # (..., 1), 1 on average under the hypothesis
        capital = capital + seen[..., value, None] * np.log1p(STAKES * (odds - 1.0))  # (..., K)
    return _log_total(capital)


def log_e_share(
    successes: ArrayLike, trials: ArrayLike, share: ArrayLike, *, above: bool
) -> FloatArray:
    """Give `log_e_mean` for outcomes that are success or not.

    Args:
        successes: (...), how many succeeded.
        trials: (...), out of how many.
        share: (...), the hypothesis, in [0, 1].
        above: Whether evidence for a larger share is asked, or for a smaller one.
    """
    good = np.asarray(successes, dtype=np.float64)
    counts = np.stack(np.broadcast_arrays(np.asarray(trials) - good, good), axis=-1)  # (..., 2)
    return log_e_mean((0.0, 1.0), counts, share, above=above)


def _log_total(capital: FloatArray) -> FloatArray:
    """Give the log of the cash and the mean of what the stakes became, without overflow.

    Args:
        capital: (..., K), the log of what one unit became at each stake.
    """
    top = np.maximum(capital.max(axis=-1), 0.0)  # (...)
    staked = np.exp(capital - top[..., None]).mean(axis=-1)
    total: FloatArray = np.log(CASH * np.exp(-top) + (1 - CASH) * staked) + top
    return total
