"""Writing the manifests: a base, and three ways to run on it, for ``kubectl apply -k``.

::

    base/          namespace, account, store, network policies, the autoscaler's metric
    gateway-api/   a Deployment per arm behind an HTTPRoute and a GRPCRoute
    kserve/        a ServingRuntime and an InferenceService with a canary
    flagger/       one Deployment and a Canary; flagger/candidate starts the rollout

Choose one of the last three: each of them wants the split for itself.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from marina.errors import RolloutError
from marina.files import whole_folder
from marina.k8s.base import adapter_rules, namespace, network_policies, service_account, store
from marina.k8s.flagger import candidate_patch, flagger
from marina.k8s.kserve import inference_service, serving_runtime
from marina.k8s.pods import autoscaler, deployment, disruption_budget, service
from marina.k8s.routes import grpc_route, http_route
from marina.k8s.target import Manifest, Target, labels_of

Files = dict[str, list[Manifest]]

HEAD = "# Rendered by `marina k8s render`; change the recipe or the rollout, then render again.\n"


def render(target: Target, out: Path) -> list[Path]:
    """Write all manifests to a folder, whole or not at all; what was there is replaced.

    Args:
        target: What to render.
        out: The folder.

    Returns:
        The files, relative to ``out``.

    Raises:
        RolloutError: The folder holds something else than an earlier rendering.
    """
    _refuse_overwrite(out)
    files = _files(target)
    with whole_folder(out) as folder:
        for name, manifests in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(HEAD + yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False))
    return [Path(name) for name in sorted(files)]


class _Plain(yaml.SafeDumper):
    """Writes for readers: no anchors for what comes twice, and lines as they are."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml's own signature
        return True


def _text(dumper: _Plain, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plain.add_representer(str, _text)


def _refuse_overwrite(out: Path) -> None:
    mark = out / "base" / "kustomization.yaml"
    if not out.exists() or not any(out.iterdir()):
        return
    if not mark.is_file() or not mark.read_text().startswith(HEAD):
        raise RolloutError(
            f"{out} holds something that was not rendered here: name a new folder, or empty it"
        )


def _files(target: Target) -> Files:
    base = {
        "namespace.yaml": [namespace(target)],
        "service-account.yaml": [service_account()],
        "store.yaml": [store()],
        "network-policies.yaml": network_policies(target),
        "adapter-rules.yaml": [adapter_rules()],
    }
    files = _folder("base", base, target)
    files |= _folder("gateway-api", _gateway_api(target), target, ["../base"])
    kserve = {
        "serving-runtime.yaml": [serving_runtime(target)],
        "inference-service.yaml": [inference_service(target)],
    }
    files |= _folder("kserve", kserve, target, ["../base"])
    if target.rollout:
        files |= _folder("flagger", flagger(target, target.rollout), target, ["../base"])
        patch = candidate_patch(target, target.arms[1])
        files["flagger/candidate/candidate.yaml"] = [patch]
        change = {"resources": [".."], "patches": [{"path": "candidate.yaml"}]}
        files["flagger/candidate/kustomization.yaml"] = [_kustomization(change)]
    return files


def _gateway_api(target: Target) -> Files:
    files: Files = {}
    for arm in target.arms:
        files[f"{arm.name}.yaml"] = [
            deployment(target, arm),
            service(arm),
            autoscaler(target, arm.name, labels_of(arm)),
            disruption_budget(arm.name, labels_of(arm)),
        ]
    files["routes.yaml"] = [http_route(target), grpc_route(target)]
    return files


def _folder(name: str, files: Files, target: Target, below: list[str] | None = None) -> Files:
    """Give a folder's files, with the kustomization that lists them."""
    resources = {"namespace": target.namespace, "resources": [*(below or []), *files]}
    made = {f"{name}/{file}": manifests for file, manifests in files.items()}
    return made | {f"{name}/kustomization.yaml": [_kustomization(resources)]}


def _kustomization(content: Manifest) -> Manifest:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **content}
