"""A recipe and a rollout as Kubernetes manifests: written here, applied by whoever may."""

from marina.k8s.render import render
from marina.k8s.target import Target

__all__ = ["Target", "render"]
