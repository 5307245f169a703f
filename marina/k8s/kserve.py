"""KServe: a runtime of our own, and the split as canaries of an InferenceService."""

from __future__ import annotations

from marina.k8s.pods import (
    STORE,
    container_security,
    environment,
    pod_security,
    ports,
    probes,
    resources,
    scratch_mounts,
    scratch_volumes,
    serve_args,
)
from marina.k8s.target import Arm, Manifest, Target, dns, manifest

FORMAT = "marina"
CONTAINER = "kserve-container"  # the name that KServe looks for
MOUNTED = "/mnt/models"  # where KServe puts what storageUri names


def serving_runtime(target: Target) -> Manifest:
    """Give the ServingRuntime: `marina serve` on what KServe mounts."""
    spec = {
        "supportedModelFormats": [{"name": FORMAT, "version": "1", "autoSelect": True}],
        "protocolVersions": ["v1"],
        "containers": [
            {
                "name": CONTAINER,
                "image": target.image,
                "args": serve_args(MOUNTED),
                "env": environment(),
                "ports": [port | {"protocol": "TCP"} for port in ports()[:1]],
                "resources": resources(target),
                "securityContext": container_security(),
                "volumeMounts": scratch_mounts(),
            }
        ],
        "volumes": scratch_volumes(),
    }
    return manifest("serving.kserve.io/v1alpha1/ServingRuntime", "marina", spec)


def inference_service(target: Target) -> Manifest:
    """Give the InferenceService, in Standard mode: no Knative is needed for its canaries."""
    baseline, *canaries = target.arms
    spec: Manifest = {"predictor": _predictor(target, baseline)}
    if canaries:
        spec["canary"] = [
            {"trafficPercent": arm.weight, "predictor": _predictor(target, arm, fixed=True)}
            for arm in canaries
        ]
    service = manifest("serving.kserve.io/v1beta1/InferenceService", dns(target.model), spec)
    service["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": "Standard"}
    return service


def _predictor(target: Target, arm: Arm, *, fixed: bool = False) -> Manifest:
    most = target.replicas if fixed else target.max_replicas  # KServe does not scale a canary
    return {
        "name": dns(f"v{arm.version}"),
        "minReplicas": target.replicas,
        "maxReplicas": most,
        "securityContext": pod_security(),
        "automountServiceAccountToken": False,
        "model": {
            "name": CONTAINER,  # KServe 0.20 fills it in for a predictor, but not for a canary
            "modelFormat": {"name": FORMAT, "version": "1"},
            "runtime": "marina",
            "storageUri": f"pvc://{STORE}",
            "args": [arm.archive],
            **probes(target),
        },
    }
