"""The gates as PromQL: what Flagger asks is what a rollout here demands, as far as metrics tell.

Each query compares the candidate's pods with the baseline's over a window. A query cannot be
looked at often without raising false alarms, as Marina's own verdicts can: Flagger's threshold of
failed checks in a row makes up for some of it. Class mix, shadow agreement and accuracy need the
answers themselves and stay with `marina rollout`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from marina.rollout.spec import RolloutSpec

CLUSTERS = 'envoy_cluster_name=~"rest|grpc"'
FAILED = 'envoy_response_code_class="5"'


@dataclass(frozen=True)
class Query:
    """A gate as a query.

    Attributes:
        gate: Name of the gate.
        promql: Gives one number; ``$baseline``, ``$candidate`` are patterns of pod names,
            ``$namespace`` and ``$interval`` what they say.
        maximum: The gate is broken above this.
    """

    gate: str
    promql: str
    maximum: float


def error_share(pods: str) -> str:
    """Give the share of failed requests of some pods, as PromQL."""
    failed = f"sum(rate(envoy_cluster_upstream_rq_xx{{{_of(pods)}, {FAILED}}}[$interval]))"
    every = f"sum(rate(envoy_cluster_upstream_rq_completed{{{_of(pods)}}}[$interval]))"
    return f"(\n  ({failed} or vector(0))\n  / {every}\n)\n"


def latency_ms(pods: str, level: float) -> str:
    """Give a latency quantile of some pods in milliseconds, as PromQL."""
    buckets = f"rate(envoy_cluster_upstream_rq_time_bucket{{{_of(pods)}}}[$interval])"
    return f"histogram_quantile({level},\n  sum({buckets}) by (le)\n)\n"


def queries(rollout: RolloutSpec) -> list[Query]:
    """Give the gates that metrics can tell of."""
    gates = rollout.gates
    found = []
    if gates.error_rate:
        promql = f"{error_share('$candidate')}- {error_share('$baseline')}"
        found.append(Query("error_rate", promql, gates.error_rate.max_increase))
    for gate, name, level in (
        (gates.p50_ratio, "p50_ratio", 0.5),
        (gates.p99_ratio, "p99_ratio", 0.99),
    ):
        if gate:
            promql = f"{latency_ms('$candidate', level)}/ {latency_ms('$baseline', level)}"
            found.append(Query(name, promql, gate.max_ratio))
    return found


def untold(rollout: RolloutSpec) -> list[str]:
    """Name the gates that metrics cannot tell of."""
    told = {query.gate for query in queries(rollout)}
    return [name for name in rollout.gates.kept if name not in told]


def window_s(rollout: RolloutSpec) -> int:
    """Give a window that holds a step's shortest time, between half a minute and five."""
    shortest = max(step.min_time_s for step in rollout.steps)
    return min(300, max(30, math.ceil(shortest)))


def _of(pods: str) -> str:
    return f'namespace="$namespace", pod=~"{pods}", {CLUSTERS}'
