"""The Gateway API's routes: the split by weights, the shadow by RequestMirror."""

from __future__ import annotations

from marina.k8s.target import GRPC_PORT, REST_PORT, Arm, Manifest, Target, dns, manifest

INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"


def http_route(target: Target) -> Manifest:
    """Give the HTTPRoute: a request for the model is split, one for a version goes to its arm."""
    path = f"/predictions/{target.model}"
    split = _rule(target, [{"path": {"type": "Exact", "value": path}, "method": "POST"}], REST_PORT)
    explicit = [
        {
            "matches": [
                {"path": {"type": "Exact", "value": f"{path}/{arm.version}"}, "method": "POST"}
            ],
            "backendRefs": [_backend(arm, REST_PORT)],
            "timeouts": _timeouts(target),
        }
        for arm in target.arms
    ]
    rules = [split | {"timeouts": _timeouts(target)}, *explicit]
    return _route("HTTPRoute", target, rules)


def grpc_route(target: Target) -> Manifest:
    """Give the GRPCRoute.

    Model and version are in the message, which a route cannot see: all calls are split, and one
    that names a version is answered only by that version's pods. Where this matters, leave the
    split to Marina's own gateway.
    """
    matches = [
        {"method": {"type": "Exact", "service": INFERENCE, "method": method}}
        for method in ("Predictions", "StreamPredictions")
    ]
    return _route("GRPCRoute", target, [_rule(target, matches, GRPC_PORT)])


def _route(kind: str, target: Target, rules: list[Manifest]) -> Manifest:
    spec = {
        "parentRefs": [{"name": target.gateway, "namespace": target.gateway_namespace}],
        "hostnames": [target.host],
        "rules": rules,
    }
    route = manifest(f"gateway.networking.k8s.io/v1/{kind}", dns(target.model), spec)
    if target.rollout and target.rollout.sticky_header:
        note = f"{target.rollout.sticky_header} is not kept: routes have no split by header yet"
        route["metadata"]["annotations"] = {"marina/sticky-header": note}
    return route


def _rule(target: Target, matches: list[Manifest], port: int) -> Manifest:
    rule: Manifest = {
        "matches": matches,
        "backendRefs": [_backend(arm, port) | {"weight": arm.weight} for arm in target.arms],
    }
    mirrors = [
        {
            "type": "RequestMirror",
            "requestMirror": {"backendRef": _backend(arm, port), "percent": arm.mirrored},
        }
        for arm in target.arms
        if arm.mirrored
    ]
    return rule | {"filters": mirrors} if mirrors else rule


def _backend(arm: Arm, port: int) -> Manifest:
    return {"name": arm.name, "port": port}


def _timeouts(target: Target) -> Manifest:
    return {"request": f"{target.recipe.serve.response_timeout_s}s"}
