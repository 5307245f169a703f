"""Where the gateway may send a request: TorchServe, the supervisor, and Envoy itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marina.gateway.config import LOOPBACK, GatewayConfig

Json = dict[str, Any]

_TYPE = "type.googleapis.com"
_SOCKETS = f"{_TYPE}/envoy.extensions.transport_sockets"
_CONNECT_TIMEOUT_S = 2.0


def clusters(config: GatewayConfig, folder: Path) -> list[Json]:
    """Give every place that a route may name.

    Args:
        config: The gateway's.
        folder: Holds the socket of Envoy's admin interface.
    """
    limits = config.limits
    internal = {"envoy_internal_address": {"server_listener_name": "shadow"}}
    through = {
        "name": "envoy.transport_sockets.internal_upstream",
        "typed_config": {
            "@type": f"{_SOCKETS}.internal_upstream.v3.InternalUpstreamTransport",
            "transport_socket": {
                "name": "envoy.transport_sockets.raw_buffer",
                "typed_config": {"@type": f"{_SOCKETS}.raw_buffer.v3.RawBuffer"},
            },
        },
    }
    return [
        _discovered("rest", folder, limits.requests),
        _discovered("grpc", folder, limits.requests, http2=True),
        _cluster("ready", _address(LOOPBACK, config.ready_upstream_port), limits.requests),
        _cluster("admin", {"pipe": {"path": str(folder / "admin.sock")}}, 16),
        {**_cluster("shadow_rest", internal, limits.shadow_requests), "transport_socket": through},
        {
            **_cluster("shadow_grpc", internal, limits.shadow_requests, http2=True),
            "transport_socket": through,
        },
    ]


def endpoints(cluster: str, port: int) -> Json:
    """Give where TorchServe is now, for the file that Envoy reads anew when it changes.

    Args:
        cluster: ``rest`` or ``grpc``.
        port: On the loopback interface.
    """
    resource = _assignment(cluster, _address(LOOPBACK, port))
    typed = {"@type": f"{_TYPE}/envoy.config.endpoint.v3.ClusterLoadAssignment", **resource}
    return {"version_info": str(port), "resources": [typed]}


def _discovered(name: str, folder: Path, requests: int, *, http2: bool = False) -> Json:
    """Give a cluster whose endpoint stands in a file: a TorchServe that restarts may move."""
    source = {
        "path": str(folder / f"endpoint_{name}.json"),
        "watched_directory": {"path": str(folder)},
    }
    config = {"path_config_source": source, "resource_api_version": "V3"}
    cluster = _cluster(name, {}, requests, http2=http2)
    del cluster["load_assignment"]
    return {**cluster, "type": "EDS", "eds_cluster_config": {"eds_config": config}}


def _assignment(cluster: str, address: Json) -> Json:
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    return {"cluster_name": cluster, "endpoints": [endpoint]}


def _cluster(name: str, address: Json, requests: int, *, http2: bool = False) -> Json:
    thresholds = {
        "max_connections": requests,
        "max_pending_requests": requests,
        "max_requests": requests,
        "max_retries": requests,
    }
    cluster: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": _seconds(_CONNECT_TIMEOUT_S),
        "load_assignment": _assignment(name, address),
        "circuit_breakers": {"thresholds": [thresholds]},
    }
    if http2:
        options = {
            "@type": f"{_TYPE}/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        }
    return cluster


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _seconds(seconds: float) -> str:
    return f"{seconds}s"
