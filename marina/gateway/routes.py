"""The routes of the gateway, as the files that Envoy reads anew whenever they change.

There are three tables: ``rest`` and ``grpc`` for clients, ``shadow`` for the copies that a split
sends. A route whose filter context names an arm is rewritten by ``arm.lua``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from marina.gateway.config import GatewayConfig
from marina.gateway.openapi import document
from marina.gateway.split import SLOTS, Share, Split

Table = Literal["rest", "grpc", "shadow"]
Json = dict[str, Any]

TABLES: tuple[Table, ...] = ("rest", "grpc", "shadow")
ARM_FILTER = "marina.arm"
BUFFER_FILTER = "envoy.filters.http.buffer"
MODEL_HEADER = "x-marina-model"
SHADOW_HEADER = "x-marina-shadow"
SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"

_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]*"
_TYPE = "type.googleapis.com"
_PING_TIMEOUT_S = 5.0
_NO_SUCH_ROUTE = (
    "no such route: POST /predictions/<model>[/<version>], GET /ping, GET /ready, GET /openapi.json"
)
# Each of its messages names a model and a version, so no route could hold a split or a limit.
_MANY_REQUESTS = (
    "StreamPredictions2 is not served, as no split could hold for it: call Predictions for each"
)
_LARGEST_OWN_ANSWER_BYTES = 64 * 1024


def route_table(table: Table, splits: Iterable[Split], config: GatewayConfig) -> Json:
    """Give one table.

    Args:
        table: Which.
        splits: Of all models.
        config: The gateway's.
    """
    routes = {"rest": _rest, "grpc": _grpc, "shadow": _shadow}[table](list(splits), config)
    return {
        "@type": f"{_TYPE}/envoy.config.route.v3.RouteConfiguration",
        "name": table,
        "virtual_hosts": [{"name": table, "domains": ["*"], "routes": routes}],
        "response_headers_to_remove": ["x-envoy-upstream-service-time"],
        "max_direct_response_body_size_bytes": _LARGEST_OWN_ANSWER_BYTES,
    }


def _rest(splits: Sequence[Split], config: GatewayConfig) -> list[Json]:
    deadline = config.limits.deadline_s
    routes = []
    for split in splits:
        match = {"path": f"/predictions/{split.model}", "headers": [_is(":method", "POST")]}
        routes += _split_routes(split, match, "rest", config)
    names = "predictions|explanations" if config.explanations else "predictions"
    predictions = {"safe_regex": {"regex": f"/({names})/{_NAME}(/[^/]+)?"}}
    if not config.explanations:
        routes.append(_refuse("/explanations/", "explanations are off: serve with --explanations"))
    return [
        *routes,
        _route({**predictions, "headers": [_is(":method", "POST")]}, "rest", deadline),
        _route({"path": "/ping", "headers": [_is(":method", "GET")]}, "rest", _PING_TIMEOUT_S),
        _route({"path": "/ready", "headers": [_is(":method", "GET")]}, "ready", _PING_TIMEOUT_S),
        _describe(config),
        _refuse("/", _NO_SUCH_ROUTE),
    ]


def _grpc(splits: Sequence[Split], config: GatewayConfig) -> list[Json]:
    deadline = config.limits.deadline_s
    routes = []
    for split in splits:
        match = {
            "path": f"{SERVICE}/Predictions",  # StreamPredictions too: identify.lua
            "headers": [_is(MODEL_HEADER, split.model)],
            "grpc": {},
        }
        routes += _split_routes(split, match, "grpc", config)
    whole = {"safe_regex": {"regex": f"{SERVICE}/(Ping|Predictions)"}, "grpc": {}}
    # The buffer would wait for the end of a stream that waits for its first answer.
    per_route = {"@type": f"{_TYPE}/envoy.extensions.filters.http.buffer.v3.BufferPerRoute"}
    unbuffered = {"typed_per_filter_config": {BUFFER_FILTER: {**per_route, "disabled": True}}}
    return [
        *routes,
        _route(whole, "grpc", deadline),
        {**_refuse(f"{SERVICE}/StreamPredictions2", _MANY_REQUESTS), **unbuffered},
        _refuse("/", _NO_SUCH_ROUTE),
    ]


def _shadow(splits: Sequence[Split], config: GatewayConfig) -> list[Json]:
    """Give the routes of copies: to the version that shadows, unless it answered itself."""
    routes = []
    for split in splits:
        for version in split.shadow or {}:
            is_ours = [_is(MODEL_HEADER, split.model), _is(SHADOW_HEADER, version)]
            answered = {"prefix": "/", "headers": [*is_ours, _is("x-marina-arm", version)]}
            routes.append({"match": answered, "direct_response": {"status": 204}})
            for transport, prefix in (("rest", "/predictions/"), ("grpc", SERVICE)):
                match = {"prefix": prefix, "headers": is_ours}
                route = _route(match, transport, config.limits.deadline_s)
                routes.append({**route, **_arm(split, version, "shadow")})
    return [*routes, _refuse("/", _NO_SUCH_ROUTE)]


def _split_routes(split: Split, match: Json, cluster: str, config: GatewayConfig) -> list[Json]:
    """Give a split's routes: to the arm that a tester names, or to one by weight."""
    routes = []
    if split.force_header is not None:
        headers = match["headers"]
        for version in split.versions:
            forced = {**match, "headers": [*headers, _is(split.force_header, version)]}
            route = _route(forced, cluster, config.limits.deadline_s)
            routes.append({**route, **_arm(split, version, "forced")})
        is_there = {"name": split.force_header, "present_match": True}
        message = f"no such arm in {split.force_header}: the split has {', '.join(split.versions)}"
        refusal = {"status": 400, "body": {"inline_string": message}}
        routes.append({"match": {**match, "headers": [*headers, is_there]},
                       "direct_response": refusal})  # fmt: skip
    return [*routes, _weighted_route(split, match, cluster, config)]


def _weighted_route(split: Split, match: Json, cluster: str, config: GatewayConfig) -> Json:
    shares = sorted(split.shares, key=lambda share: share.start)
    action: Json = {
        **_deadline(config.limits.deadline_s, cluster),
        "weighted_clusters": {
            "clusters": [_weighted_cluster(split, share, cluster) for share in shares],
            "use_hash_policy": True,
        },
        "retry_policy": _RETRY,
        "request_mirror_policies": [
            _mirror(version, slots, cluster) for version, slots in (split.shadow or {}).items()
        ],
    }
    if split.sticky_header is not None:
        action["hash_policy"] = [{"header": {"header_name": split.sticky_header}}]
    return {"match": match, "route": action}


def _weighted_cluster(split: Split, share: Share, cluster: str) -> Json:
    return {"name": cluster, "weight": share.size, **_arm(split, share.arm, "split")}


def _mirror(version: str, slots: int, cluster: str) -> Json:
    mark = {"header": {"key": SHADOW_HEADER, "value": version},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}  # fmt: skip
    return {
        "cluster": f"shadow_{cluster}",
        "runtime_fraction": {
            "default_value": {"numerator": slots * 1_000_000 // SLOTS, "denominator": "MILLION"}
        },
        "request_headers_mutations": [{"append": mark}],
    }


def _arm(split: Split, version: str, kind: str) -> Json:
    """Tell ``arm.lua`` which arm was chosen."""
    context = {
        "model": split.model,
        "version": version,
        "kind": kind,
        "sticky": split.sticky_header,
        "keep": str(split.keep_images) if kind == "shadow" and split.keep_images else None,
    }
    per_route = {
        "@type": f"{_TYPE}/envoy.extensions.filters.http.lua.v3.LuaPerRoute",
        "filter_context": {key: value for key, value in context.items() if value is not None},
    }
    return {"typed_per_filter_config": {ARM_FILTER: per_route}}


# Where nothing of a request can have been sent yet: a POST is never sent twice.
_RETRY = {
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 3,
    "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"},
}


def _route(match: Json, cluster: str, deadline_s: float) -> Json:
    action = {**_deadline(deadline_s, cluster), "cluster": cluster, "retry_policy": _RETRY}
    return {"match": match, "route": action}


def _deadline(deadline_s: float, cluster: str) -> Json:
    if cluster != "grpc":
        return {"timeout": f"{deadline_s}s"}
    # A client's own deadline holds where it ends sooner.
    limit = {"max_stream_duration": f"{deadline_s}s", "grpc_timeout_header_max": f"{deadline_s}s"}
    return {"timeout": f"{deadline_s}s", "max_stream_duration": limit}


def _describe(config: GatewayConfig) -> Json:
    body = {"inline_string": json.dumps(document(config), separators=(",", ":"))}
    return {
        "match": {"path": "/openapi.json", "headers": [_is(":method", "GET")]},
        "direct_response": {"status": 200, "body": body},
    }


def _refuse(prefix: str, message: str) -> Json:
    body = {"inline_string": message}
    return {"match": {"prefix": prefix}, "direct_response": {"status": 404, "body": body}}


def _is(header: str, value: str) -> Json:
    return {"name": header, "string_match": {"exact": value}}
