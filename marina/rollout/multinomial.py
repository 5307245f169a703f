"""Counts against declared shares: is the split real, and do paired answers differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from marina.rollout.betting import FloatArray


def log_e_multinomial(counts: ArrayLike, shares: ArrayLike) -> FloatArray:
    """Give the log evidence that categories do not come in the declared shares.

    The likelihood of the counts, averaged over all shares by a Dirichlet(½) prior, over their
    likelihood under the declared ones: a martingale if those are true. Lindon & Malek,
    "Anytime-valid inference for multinomial count data", NeurIPS 2022, arXiv:2011.03567.

    Args:
        counts: (..., J).
        shares: (..., J), each above 0, with the sum 1.

    Returns:
        (...), the log of an e-value.
    """
    seen = np.asarray(counts, dtype=np.float64)
    declared = np.asarray(shares, dtype=np.float64)
    prior = 0.5
    categories = seen.shape[-1]
    mixture = (gammaln(prior + seen) - gammaln(prior)).sum(axis=-1)
    mixture += gammaln(categories * prior) - gammaln(categories * prior + seen.sum(axis=-1))
    evidence: FloatArray = mixture - (seen * np.log(declared)).sum(axis=-1)
    return evidence


@dataclass(frozen=True)
class McNemar:
    """Two versions on the same labelled images: who was right where the other was wrong.

    If they are equally good, each such image is a fair coin (McNemar 1947). The exact test looks
    once; the e-value may be looked at always.

    Attributes:
        candidate_only: Images on which only the candidate was right.
        baseline_only: Images on which only the baseline was right.
    """

    candidate_only: int
    baseline_only: int

    @property
    def log_e(self) -> float:
        """Log evidence of a difference: at α, a difference is shown from log(1/α) on."""
        counts = (self.candidate_only, self.baseline_only)
        return float(log_e_multinomial(counts, (0.5, 0.5)))

    @property
    def p_value(self) -> float:
        """Exact two-sided p-value, for one look at the end only."""
        from statsmodels.stats.contingency_tables import mcnemar

        table = [[0, self.baseline_only], [self.candidate_only, 0]]
        return float(mcnemar(table, exact=True).pvalue)

    def differs(self, alpha: float) -> bool:
        """Tell whether a difference is shown, however often one looked."""
        return self.log_e >= math.log(1 / alpha)
