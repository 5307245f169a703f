"""An arm's pods: Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget."""

from __future__ import annotations

from marina.k8s.target import (
    GRPC_PORT,
    METRICS_PORTS,
    REST_PORT,
    Arm,
    Manifest,
    Target,
    labels_of,
    manifest,
)

STORE = "model-store"
STORE_PATH = "/models"
SERVICE_ACCOUNT = "marina"
USER = 10001

ENDPOINTS_S = 5  # until every proxy has heard that the pod is going
DRAIN_S = 30
CORES_PER_POD = 2  # and so many workers, where a recipe leaves them out
QUEUE_METRIC = "torchserve_queue_seconds"
QUEUE_TARGET = "50m"  # seconds: a pod is added where requests wait longer on average


def deployment(target: Target, arm: Arm, name: str | None = None) -> Manifest:
    """Give an arm's Deployment; how many pods there are is the autoscaler's business."""
    labels = labels_of(arm)
    spec = {
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": 2 * target.recipe.serve.startup_timeout_s,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "selector": {"matchLabels": selector(labels, name)},
        "template": {
            "metadata": {
                "labels": labels | selector(labels, name),
                "annotations": {"prometheus.io/scrape": "true"},
            },
            "spec": pod(target, arm, selector(labels, name)),
        },
    }
    return manifest("apps/v1/Deployment", name or arm.name, spec, labels)


def selector(labels: dict[str, str], name: str | None) -> dict[str, str]:
    """Give what selects the pods: the arm, or, where one Deployment changes its arm, its name."""
    return labels if name is None else {"app": name}


def pod(target: Target, arm: Arm, own: dict[str, str]) -> Manifest:
    """Give the pod: no root, nothing to write but three temporary folders, no token."""
    return {
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": ENDPOINTS_S + DRAIN_S + 10,
        "securityContext": pod_security(),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": own},
            }
        ],
        "containers": [container(target, arm)],
        "volumes": [
            {"name": STORE, "persistentVolumeClaim": {"claimName": STORE, "readOnly": True}},
            *scratch_volumes(),
        ],
    }


def container(target: Target, arm: Arm) -> Manifest:
    """Give the container that runs `marina serve` on the one archive of the arm."""
    return {
        "name": "marina",
        "image": target.image,
        "args": [*serve_args(STORE_PATH), arm.archive],
        "env": environment(),
        "ports": ports(),
        "resources": resources(target),
        "securityContext": container_security(),
        **probes(target),
        # No shell in the image is needed to wait. Then SIGTERM: the supervisor drains and stops.
        "lifecycle": {"preStop": {"sleep": {"seconds": ENDPOINTS_S}}},
        "volumeMounts": [
            {"name": STORE, "mountPath": STORE_PATH, "readOnly": True},
            *scratch_mounts(),
        ],
    }


def serve_args(store: str) -> list[str]:
    """Give the arguments of the image's entry point, `marina`.

    No tokens: each pod would have its own, and kubelet's probe of ``/ping`` none. Who may ask is
    the cluster's gateway's business, which alone reaches the pods (network-policies.yaml).
    """
    return [
        "serve",
        "--address=0.0.0.0",
        "--metrics-address=0.0.0.0",
        "--no-tokens",
        f"--model-store={store}",
        "--log-dir=/logs",
        f"--drain-timeout={DRAIN_S}",
    ]


def environment() -> list[Manifest]:
    """Give the variables that keep everything that is written in the temporary folders."""
    return [{"name": "TMPDIR", "value": "/tmp"}, {"name": "HOME", "value": "/home/marina"}]  # noqa: S108


def ports() -> list[Manifest]:
    """Give the container's ports by name."""
    named = {"rest": REST_PORT, "grpc": GRPC_PORT, **METRICS_PORTS}
    return [{"name": name, "containerPort": port} for name, port in named.items()]


def resources(target: Target) -> Manifest:
    """Give requests and limits: a core and a GiB per worker, and Java and Envoy beside them.

    The limit of memory is its request, so that a pod is not put where it would not fit; the CPU
    has none beyond twice its request, so that a start, which compiles, is not starved. Where the
    recipe leaves the workers out, the limit itself says how many there are: TorchServe starts one
    per core of it.
    """
    chosen = target.recipe.serve.workers
    workers = chosen or CORES_PER_POD
    limit = 2 * workers if chosen else workers
    memory = f"{workers + 1}Gi"
    return {
        "requests": {"cpu": str(workers), "memory": memory, "ephemeral-storage": "1Gi"},
        "limits": {"cpu": str(limit), "memory": memory, "ephemeral-storage": "3Gi"},
    }


def probes(target: Target) -> Manifest:
    """Give the probes: ready means warmed and proved right; the supervisor heals what it can."""
    ready = {"httpGet": {"path": "/ready", "port": "rest"}, "timeoutSeconds": 2}
    alive = {"httpGet": {"path": "/ping", "port": "rest"}, "timeoutSeconds": 5}
    starts = max(1, target.recipe.serve.startup_timeout_s // 2)
    return {
        "startupProbe": ready | {"periodSeconds": 2, "failureThreshold": starts},
        "readinessProbe": ready | {"periodSeconds": 2, "failureThreshold": 1},
        "livenessProbe": alive | {"periodSeconds": 10, "failureThreshold": 6},
    }


def pod_security() -> Manifest:
    """Give what Kubernetes' ``restricted`` standard wants of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """Give what it wants of a container, and a root that cannot be written to."""
    return {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


_SCRATCH = {"tmp": "/tmp", "logs": "/logs", "home": "/home/marina"}  # noqa: S108


def scratch_volumes() -> list[Manifest]:
    """Give the folders that may be written to; they end with the pod."""
    return [{"name": name, "emptyDir": {"sizeLimit": "1Gi"}} for name in _SCRATCH]


def scratch_mounts() -> list[Manifest]:
    """Give where they are."""
    return [{"name": name, "mountPath": path} for name, path in _SCRATCH.items()]


def service(arm: Arm) -> Manifest:
    """Give an arm's Service."""
    spec = {
        "selector": labels_of(arm),
        "ports": [
            {"name": "http", "port": REST_PORT, "targetPort": "rest", "appProtocol": "http"},
            {
                "name": "grpc",
                "port": GRPC_PORT,
                "targetPort": "grpc",
                "appProtocol": "kubernetes.io/h2c",
            },
        ],
    }
    return manifest("v1/Service", arm.name, spec, labels_of(arm))


def autoscaler(target: Target, name: str, labels: dict[str, str]) -> Manifest:
    """Give an autoscaler on how long requests wait for a worker (monitoring/adapter-rules.yaml)."""
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": target.replicas,
        "maxReplicas": target.max_replicas,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": QUEUE_METRIC},
                    "target": {"type": "AverageValue", "averageValue": QUEUE_TARGET},
                },
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
    return manifest("autoscaling/v2/HorizontalPodAutoscaler", name, spec, labels)


def disruption_budget(name: str, matched: dict[str, str]) -> Manifest:
    """Give a budget that lets a node's drain take one pod of an arm at a time."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": matched}}
    return manifest("policy/v1/PodDisruptionBudget", name, spec)
