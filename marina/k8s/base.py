"""What all the ways to run it share: namespace, account, store, who may talk to whom."""

from __future__ import annotations

import yaml

from marina.k8s.pods import QUEUE_METRIC, SERVICE_ACCOUNT, STORE
from marina.k8s.target import GRPC_PORT, METRICS_PORTS, REST_PORT, Manifest, Target, manifest


def namespace(target: Target) -> Manifest:
    """Give the namespace; it admits pods of the ``restricted`` standard only."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return manifest("v1/Namespace", target.namespace, labels=labels)


def service_account() -> Manifest:
    """Give the pods' account: it may do nothing, and no pod gets its token."""
    account = manifest("v1/ServiceAccount", SERVICE_ACCOUNT)
    return account | {"automountServiceAccountToken": False}


def store() -> Manifest:
    """Give the claim on the model store, filled by whoever publishes archives."""
    spec = {
        "accessModes": ["ReadOnlyMany"],
        "resources": {"requests": {"storage": "10Gi"}},
    }
    return manifest("v1/PersistentVolumeClaim", STORE, spec)


def network_policies(target: Target) -> list[Manifest]:
    """Give who may talk to whom: the gateway asks, Prometheus scrapes, and the pods ask nobody."""
    everyone = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    inference = {
        "podSelector": {},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [_namespace(target.gateway_namespace)],
                "ports": [_tcp(REST_PORT), _tcp(GRPC_PORT)],
            },
            {
                "from": [_namespace("monitoring")],
                "ports": [_tcp(port) for port in METRICS_PORTS.values()],
            },
        ],
    }
    return [
        manifest("networking.k8s.io/v1/NetworkPolicy", "deny-all", everyone),
        manifest("networking.k8s.io/v1/NetworkPolicy", "inference", inference),
    ]


def adapter_rules() -> Manifest:
    """Give prometheus-adapter's rule for the autoscaler's metric.

    TorchServe counts the microseconds that requests waited, and the requests: the quotient of
    their rates is the mean wait.
    """
    rate = "sum(rate({}{{<<.LabelMatchers>>}}[2m])) by (<<.GroupBy>>)"
    waited = rate.format("ts_queue_latency_microseconds")
    requests = rate.format("ts_inference_requests_total")
    rule = {
        "seriesQuery": 'ts_queue_latency_microseconds{namespace!="",pod!=""}',
        "resources": {
            "overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}
        },
        "name": {"as": QUEUE_METRIC},
        "metricsQuery": f"{waited} / {requests} / 1e6",
    }
    rules = yaml.safe_dump({"rules": [rule]}, sort_keys=False, width=200)
    return manifest("v1/ConfigMap", "marina-adapter-rules") | {"data": {"config.yaml": rules}}


def _namespace(name: str) -> Manifest:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
