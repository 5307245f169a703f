"""What is rendered: the model, its arms, and where they run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from marina.errors import RolloutError
from marina.recipe import Recipe
from marina.rollout.spec import RolloutSpec

Manifest = dict[str, Any]

REST_PORT, GRPC_PORT = 8080, 7070
METRICS_PORTS = {"ts-metrics": 8082, "envoy-metrics": 9901}


@dataclass(frozen=True)
class Arm:
    """One version of the model in the cluster.

    Attributes:
        model: Name of the model.
        version: Its version.
        weight: Percent of the traffic.
        mirrored: Percent of the traffic that is copied to it.
    """

    model: str
    version: str
    weight: int
    mirrored: int = 0

    @property
    def name(self) -> str:
        """Name of its Deployment, Service and the rest, as DNS allows it."""
        return dns(f"{self.model}-{self.version}")

    @property
    def archive(self) -> str:
        """File in the model store."""
        return f"{self.model}-{self.version}.mar"


@dataclass(frozen=True)
class Target:
    """What is rendered.

    Attributes:
        recipe: The model's recipe: workers, batches and timeouts come from it.
        version: The version that is served if there is no rollout.
        rollout: Two arms and their weights; None for one arm.
        step: Place of the rollout's step whose weights are rendered.
        image: Container image with `marina` as its entry point.
        namespace: Where everything goes.
        host: Name that clients ask for.
        gateway: Name of the Gateway, in ``gateway_namespace``.
        gateway_namespace: Namespace of the Gateway and of the pods that it runs.
        prometheus: Where Flagger asks its queries.
        replicas: Fewest pods per arm.
        max_replicas: Most pods per arm.

    Raises:
        RolloutError: Recipe and rollout are of two models, or the rollout has no such step.
    """

    recipe: Recipe
    version: str = "1.0"
    rollout: RolloutSpec | None = None
    step: int = 0
    image: str = "marina:latest"
    namespace: str = "marina"
    host: str = "marina.example.com"
    gateway: str = "gateway"
    gateway_namespace: str = "gateway-system"
    prometheus: str = "http://prometheus.monitoring:9090"
    replicas: int = 2
    max_replicas: int = 6

    def __post_init__(self) -> None:
        rollout = self.rollout
        if rollout is None:
            return
        if rollout.model != self.recipe.name:
            raise RolloutError(
                f"the recipe is of {self.recipe.name}, the rollout of {rollout.model}: "
                "give two of the same model"
            )
        if not 0 <= self.step < len(rollout.steps):
            raise RolloutError(
                f"the rollout has the steps 1 to {len(rollout.steps)}, no step {self.step + 1}"
            )

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.recipe.name

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Who answers: the baseline first."""
        rollout = self.rollout
        if rollout is None:
            return (Arm(self.model, self.version, 100),)
        weight = rollout.steps[self.step].weight
        mirrored = rollout.shadow.percent if rollout.shadow else 0
        return (
            Arm(self.model, rollout.baseline, 100 - weight),
            Arm(self.model, rollout.candidate, weight, mirrored),
        )


def dns(name: str) -> str:
    """Give a name as DNS labels allow it: lower-case letters, digits and dashes, at most 63."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")


def manifest(
    kind: str, name: str, spec: Manifest | None = None, labels: dict[str, str] | None = None
) -> Manifest:
    """Give a manifest.

    Args:
        kind: API version and kind, such as ``apps/v1/Deployment``.
        name: Its name.
        spec: Its ``spec``.
        labels: Its labels, besides those that everything has.
    """
    api, _, kind = kind.rpartition("/")
    common = {"app.kubernetes.io/part-of": "marina", "app.kubernetes.io/managed-by": "marina"}
    metadata = {"name": name, "labels": common | (labels or {})}
    content = {"apiVersion": api, "kind": kind, "metadata": metadata}
    return content if spec is None else content | {"spec": spec}


def labels_of(arm: Arm) -> dict[str, str]:
    """Give the labels that select an arm's pods."""
    return {"app.kubernetes.io/name": dns(arm.model), "marina/version": arm.version}
