"""Flagger: the same steps and gates, decided inside the cluster."""

from __future__ import annotations

from string import Template

from marina.k8s.pods import autoscaler, deployment, disruption_budget, serve_args
from marina.k8s.queries import Query, queries, untold, window_s
from marina.k8s.target import REST_PORT, Arm, Manifest, Target, dns, labels_of, manifest
from marina.rollout.spec import RolloutSpec

# In Flagger's terms the target is the candidate and <target>-primary the baseline.
PODS = {
    "candidate": "{{ target }}-[0-9a-z]+-[0-9a-z]+",
    "baseline": "{{ target }}-primary-[0-9a-z]+-[0-9a-z]+",
}


def flagger(target: Target, rollout: RolloutSpec) -> dict[str, list[Manifest]]:
    """Give Flagger's files: it makes Services, routes and the primary itself."""
    name = dns(target.model)
    primary = f"{name}-primary"
    baseline = target.arms[0]
    return {
        "deployment.yaml": [deployment(target, baseline, name)],
        "autoscaler.yaml": [autoscaler(target, name, {"app": name})],
        "disruption-budget.yaml": [disruption_budget(primary, {"app": primary})],
        "canary.yaml": [canary(target, rollout, name)],
        "metric-templates.yaml": [metric_template(query, target) for query in queries(rollout)],
    }


def candidate_patch(target: Target, candidate: Arm) -> Manifest:
    """Give the change that starts the rollout: the same Deployment with the candidate's archive."""
    container = {"name": "marina", "args": [*serve_args("/models"), candidate.archive]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": dns(target.model)},
        "spec": {
            "template": {
                "metadata": {"labels": labels_of(candidate)},
                "spec": {"containers": [container]},
            }
        },
    }


def canary(target: Target, rollout: RolloutSpec, name: str) -> Manifest:
    """Give the Canary: the rollout's steps as weights, its gates as metrics."""
    interval = f"{window_s(rollout)}s"
    steps = len(rollout.steps)
    spec = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "autoscalerRef": {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "name": name,
        },
        "progressDeadlineSeconds": 2 * target.recipe.serve.startup_timeout_s,
        "service": {
            "port": REST_PORT,
            "targetPort": "rest",
            "hosts": [target.host],
            "gatewayRefs": [{"name": target.gateway, "namespace": target.gateway_namespace}],
            "timeout": f"{target.recipe.serve.response_timeout_s}s",
        },
        "analysis": {
            "interval": interval,
            "threshold": max(2, steps),  # failed checks before it rolls back
            "stepWeights": [step.weight for step in rollout.steps],
            "metrics": [
                {
                    "name": query.gate,
                    "templateRef": {"name": dns(query.gate)},
                    "thresholdRange": {"max": query.maximum},
                    "interval": interval,
                }
                for query in queries(rollout)
            ],
        },
    }
    made = manifest("flagger.app/v1beta1/Canary", name, spec)
    left = untold(rollout)
    if left:
        made["metadata"]["annotations"] = {
            "marina/gates-left-out": f"{', '.join(left)}: no metric tells of them"
        }
    return made


def metric_template(query: Query, target: Target) -> Manifest:
    """Give a query as Flagger asks it."""
    filled = Template(query.promql).substitute(
        PODS, namespace="{{ namespace }}", interval="{{ interval }}"
    )
    spec = {"provider": {"type": "prometheus", "address": target.prometheus}, "query": filled}
    return manifest("flagger.app/v1beta1/MetricTemplate", dns(query.gate), spec)
