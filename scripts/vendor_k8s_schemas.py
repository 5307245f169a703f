r"""Write tests/k8s/schemas/*.json: what Kubernetes and three of its extensions accept, pinned.

    pip download --no-deps kubernetes-validate==1.37.0 && unzip -d kv kubernetes_validate-*.whl
    git clone -b v1.6.1  https://github.com/kubernetes-sigs/gateway-api
    git clone -b v0.20.0 https://github.com/kserve/kserve
    git clone -b v1.44.0 https://github.com/fluxcd/flagger
    .venv/bin/python scripts/vendor_k8s_schemas.py kubernetes 1.37.0 \
        kv/kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/_definitions.json
    .venv/bin/python scripts/vendor_k8s_schemas.py gateway-api v1.6.1 \
        gateway-api/config/crd/standard/gateway.networking.k8s.io_{http,grpc}routes.yaml
    .venv/bin/python scripts/vendor_k8s_schemas.py kserve v0.20.0 \
        kserve/config/crd/full/serving.kserve.io_{inferenceservices,servingruntimes}.yaml
    .venv/bin/python scripts/vendor_k8s_schemas.py flagger v1.44.0 \
        flagger/artifacts/flagger/crd.yaml

Only the kinds that Marina renders are kept, without descriptions. Where a CRD says nothing of
unknown fields, they are refused, as the API server does with strict validation. Rules in CEL
(x-kubernetes-validations) are dropped: nothing evaluates them offline.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from marina.files import write_whole

SCHEMAS = Path(__file__).parent.parent / "tests" / "k8s" / "schemas"
SOURCES = {
    "kubernetes": "kubernetes-validate {}: kubernetes-json-schema, local-strict",
    "gateway-api": "https://github.com/kubernetes-sigs/gateway-api {}, standard channel",
    "kserve": "https://github.com/kserve/kserve {}, config/crd/full",
    "flagger": "https://github.com/fluxcd/flagger {}, artifacts/flagger/crd.yaml",
}
PREFIX = "#/$defs/"
BUILT_IN = {
    "v1/Namespace": "core.v1.Namespace",
    "v1/Service": "core.v1.Service",
    "v1/ServiceAccount": "core.v1.ServiceAccount",
    "v1/ConfigMap": "core.v1.ConfigMap",
    "v1/PersistentVolumeClaim": "core.v1.PersistentVolumeClaim",
    "apps/v1/Deployment": "apps.v1.Deployment",
    "autoscaling/v2/HorizontalPodAutoscaler": "autoscaling.v2.HorizontalPodAutoscaler",
    "networking.k8s.io/v1/NetworkPolicy": "networking.v1.NetworkPolicy",
    "policy/v1/PodDisruptionBudget": "policy.v1.PodDisruptionBudget",
}
# Parts of KServe's own kinds that hold a second and third copy of the whole pod.
UNUSED = {"explainer", "transformer", "status", "workerSpec"}


def main(name: str, version: str, files: list[str]) -> None:
    """Write one file of schemas."""
    if name == "kubernetes":
        content = built_in(json.loads(Path(files[0]).read_text())["$defs"])
    else:
        content = {"kinds": {}, "$defs": {}}
        for file in files:
            for document in yaml.safe_load_all(Path(file).read_text()):
                content["kinds"] |= custom(document)
        content["kinds"] = shared(content["kinds"], content["$defs"])
    content = {"source": SOURCES[name].format(version), **content}
    target = SCHEMAS / f"{name}.json"
    write_whole(target, json.dumps(content, separators=(",", ":"), sort_keys=True) + "\n")
    print(f"{target}: {target.stat().st_size:,} bytes, {', '.join(content['kinds'])}")


def built_in(definitions: dict[str, Any]) -> dict[str, Any]:
    """Give the built-in kinds and every definition that they need."""
    kinds = {kind: f"io.k8s.api.{name}" for kind, name in BUILT_IN.items()}
    needed, waiting = {}, list(kinds.values())
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = plain(definitions[name])
            waiting += [ref.removeprefix(PREFIX) for ref in references(needed[name])]
    return {
        "kinds": {kind: {"$ref": PREFIX + name} for kind, name in kinds.items()},
        "$defs": needed,
    }


def custom(document: dict[str, Any]) -> dict[str, Any]:
    """Give the kinds of a CustomResourceDefinition, by "group/version/Kind"."""
    spec = document["spec"]
    return {
        f"{spec['group']}/{version['name']}/{spec['names']['kind']}": closed(
            plain(version["schema"]["openAPIV3Schema"]), top=True
        )
        for version in spec["versions"]
        if version["served"]
    }


def plain(schema: Any) -> Any:
    """Drop what does not decide whether a manifest is valid."""
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in {"description", "default", "x-kubernetes-validations"} and not (
            isinstance(value, dict) and "type" in value
        ):
            continue
        if key == "$ref":
            kept[key] = PREFIX + value.rpartition("/")[2]
        elif key == "properties":
            kept[key] = {name: plain(part) for name, part in value.items() if name not in UNUSED}
        else:
            kept[key] = plain(value)
    if kept.pop("x-kubernetes-int-or-string", False):
        kept.pop("anyOf", None)
        kept["type"] = ["integer", "string"]
    return kept


def closed(schema: Any, *, top: bool = False) -> Any:
    """Refuse unknown fields wherever a CRD's schema names the known ones."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields", False)
    result = {key: closed(value) for key, value in schema.items() if not key.startswith("x-")}
    if "properties" in schema and isinstance(schema["properties"], dict):
        result["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        if schema.get("type") == "object" and not open_ended:
            result.setdefault("additionalProperties", False)
    if top:
        result["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"})
        result["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return result


def shared(schema: Any, definitions: dict[str, Any]) -> Any:
    """Move parts that come again and again, such as a whole pod, to the definitions."""
    seen: Counter[str] = Counter()

    def count(part: Any) -> None:
        if isinstance(part, dict | list):
            text = json.dumps(part, sort_keys=True)
            is_schema = isinstance(part, dict) and isinstance(part.get("type"), str)
            seen[text] += len(text) > 400 and is_schema
            for inner in part.values() if isinstance(part, dict) else part:
                count(inner)

    def replace(part: Any) -> Any:
        if isinstance(part, list):
            return [replace(inner) for inner in part]
        if not isinstance(part, dict):
            return part
        text = json.dumps(part, sort_keys=True)
        inner = {key: replace(value) for key, value in part.items()}
        if seen[text] < 2:
            return inner
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        definitions[name] = inner
        return {"$ref": PREFIX + name}

    count(schema)
    return replace(schema)


def references(schema: Any) -> list[str]:
    """Give every $ref in a schema."""
    if isinstance(schema, list):
        return [ref for item in schema for ref in references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    return own + [ref for value in schema.values() for ref in references(value)]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
