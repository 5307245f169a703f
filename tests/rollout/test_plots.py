from __future__ import annotations

import numpy as np
import pytest

from marina.rollout import plots

KEYS = [(arm, name) for arm in plots.ARMS for name in ("requests", "failures")]


@pytest.mark.parametrize("looks", [1, 2, 90, 1000])
def test_a_steady_load_is_drawn_steady(looks: int) -> None:
    """However irregular the looks at it were: no stretch is drawn without its requests."""
    chance = np.random.default_rng(0)
    at = np.cumsum(chance.uniform(0.7, 1.5, looks))
    counts = np.diff(at, prepend=0.0) * 100
    series = [(end, dict.fromkeys(KEYS, count)) for end, count in zip(at, counts, strict=True)]
    edges, rates = plots._rates(series)
    assert len(edges) <= plots.BUCKETS + 1
    assert (edges[0], edges[-1]) == (0.0, at[-1])
    for key in KEYS:
        np.testing.assert_allclose(rates[key], 100)


def test_a_look_at_the_very_start_is_drawn() -> None:
    edges, rates = plots._rates([(0.0, dict.fromkeys(KEYS, 5))])
    assert edges.tolist() == [0.0, 1.0]
    assert rates["baseline", "requests"].tolist() == [5.0, 5.0]
