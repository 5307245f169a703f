"""Whether a measurement was steady: how much of its beginning is warm-up, and whether it drifts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WINDOWS = 20
_DRIFT_P = 0.01  # a trend that chance gives once in a hundred runs
_DRIFT_SHARE = 0.10  # smaller changes than this from end to end are let pass
_SPREAD_SHARE = 0.25


@dataclass(frozen=True)
class Stability:
    """How steady a measurement was.

    Attributes:
        warmup_windows: How many of the first windows are still warm-up, and were left out.
        drift: Change of the typical latency from the first to the last third, as a share.
        spread: Half the range between the windows' 10th and 90th percentiles, as a share of
            their median.
        problem: What is wrong; None if it was steady.
    """

    warmup_windows: int
    drift: float
    spread: float
    problem: str | None

    def as_dict(self) -> dict[str, Any]:
        """Give it as a result holds it."""
        return {**asdict(self), "is_steady": self.problem is None}


def warmup_windows(values: Sequence[float] | NDArray[np.float64]) -> int:
    """Give how many first windows to leave out, by MSER (White, Simulation 69(6), 1997).

    The truncation is the one that makes the mean of the rest most certain: the least variance of
    the rest over its length. At most half may go; more would mean that nothing was steady.

    Args:
        values: A typical latency for each window of equal length, in time's order.
    """
    series = np.asarray(values, dtype=float)
    most = len(series) // 2
    if most == 0:
        return 0
    scores = [series[cut:].var() / (len(series) - cut) for cut in range(most + 1)]
    return int(np.argmin(scores))


def judge(values: Sequence[float]) -> Stability:
    """Judge windows by MSER, then look for a trend and for spread in what is left.

    Args:
        values: A typical latency for each window of equal length, in time's order; NaN where
            nothing was answered. One such window of few answers may be chance, and counts as slow.
    """
    series = np.asarray(values, dtype=float)
    unanswered = np.isnan(series)
    if unanswered.sum() > 1:
        silence = f"nothing was answered in {unanswered.sum()} of {len(series)} stretches of it"
        return Stability(0, 0.0, 0.0, silence)
    series[unanswered] = series[~unanswered].max(initial=0.0)
    cut = warmup_windows(series)
    rest = series[cut:]
    if len(rest) < 6:
        return Stability(cut, 0.0, 0.0, "too few requests to tell whether it was steady")
    third = len(rest) // 3
    drift = float(np.median(rest[-third:]) / np.median(rest[:third]) - 1)
    low, high = np.percentile(rest, [10, 90])
    spread = float((high - low) / 2 / np.median(rest))
    problem = None
    if _trend_p_value(rest) < _DRIFT_P and abs(drift) > _DRIFT_SHARE:
        problem = f"latency drifted by {drift:+.0%} from the first to the last third"
    elif spread > _SPREAD_SHARE:
        problem = f"latency varied by ±{spread:.0%} between stretches of the run"
    return Stability(cut, drift, spread, problem)


def _trend_p_value(values: NDArray[np.float64]) -> float:
    """Test for a trend: Spearman's rank correlation with time, by its normal approximation."""
    ranks = values.argsort().argsort()
    if np.ptp(values) == 0:
        return 1.0
    rho = float(np.corrcoef(np.arange(len(values)), ranks)[0, 1])
    return math.erfc(abs(rho) * math.sqrt(len(values) - 1) / math.sqrt(2))
