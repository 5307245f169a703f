"""Who listens, and what a request passes through before it is routed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from marina.gateway.access_log import access_log
from marina.gateway.config import GatewayConfig, Tls
from marina.gateway.kept_images import FOLDER as IMAGES
from marina.gateway.replies import local_replies
from marina.gateway.routes import ARM_FILTER, BUFFER_FILTER, Table

Json = dict[str, Any]

_TYPE = "type.googleapis.com"
_HTTP = f"{_TYPE}/envoy.extensions.filters.http"
_MANAGER = f"{_TYPE}/envoy.extensions.filters.network.http_connection_manager.v3"
_BUFFER_MARGIN_BYTES = 1024
_NOBODY = {"address_prefix": "255.255.255.255", "prefix_len": 32}


def listeners(config: GatewayConfig, folder: Path, log: Path) -> list[Json]:
    """Give the listeners: REST and gRPC for clients, one for copies, one for metrics.

    Args:
        config: The gateway's.
        folder: Holds the route tables.
        log: The access log.
    """
    return [
        _public("rest", config.rest_port, config, folder, log),
        _public("grpc", config.grpc_port, config, folder, log),
        _shadow(config, folder, log),
        _metrics(config),
    ]


def _public(table: Table, port: int, config: GatewayConfig, folder: Path, log: Path) -> Json:
    chain: Json = {"filters": [_http(table, config, folder, log)]}
    if config.tls is not None:
        protocols = ["h2"] if table == "grpc" else ["h2", "http/1.1"]
        chain["transport_socket"] = _tls(config.tls, protocols)
    return {
        "name": table,
        "address": _address(config.address, port),
        "filter_chains": [chain],
        # Bodies that are held while they arrive (Lua, buffer) may be this large.
        "per_connection_buffer_limit_bytes": config.limits.request_bytes + _BUFFER_MARGIN_BYTES,
    }


def _shadow(config: GatewayConfig, folder: Path, log: Path) -> Json:
    """Give the listener for copies, which nobody outside of this Envoy can reach."""
    return {
        "name": "shadow",
        "internal_listener": {},
        "filter_chains": [{"filters": [_http("shadow", config, folder, log)]}],
        "per_connection_buffer_limit_bytes": config.limits.request_bytes + _BUFFER_MARGIN_BYTES,
    }


def _http(table: Table, config: GatewayConfig, folder: Path, log: Path) -> Json:
    limits = config.limits
    is_public = table != "shadow"
    manager: Json = {
        "@type": f"{_MANAGER}.HttpConnectionManager",
        "stat_prefix": table,
        "codec_type": "AUTO",
        "rds": _route_source(table, folder),
        "http_filters": _filters(table, config, log),
        "access_log": [access_log(table, log)],
        "server_name": "marina",
        "server_header_transformation": "OVERWRITE",
        "common_http_protocol_options": {
            "idle_timeout": _seconds(limits.idle_timeout_s),
            "max_headers_count": limits.headers,
        },
        "max_request_headers_kb": limits.header_kib,
        "http2_protocol_options": {
            "max_concurrent_streams": 256,
            "initial_stream_window_size": 1024 * 1024,
            "initial_connection_window_size": 16 * 1024 * 1024,
        },
        "stream_idle_timeout": _seconds(limits.deadline_s + limits.request_timeout_s),
        # An answer of TorchServe's carries its own request id: ours replaces it.
        "always_set_request_id_in_response": True,
        "preserve_external_request_id": True,
        "generate_request_id": is_public,
        "use_remote_address": is_public,
        # No client is a friend: what Envoy would let its own peers order, nobody may.
        "internal_address_config": {"cidr_ranges": [_NOBODY]},
    }
    if is_public:
        manager |= {
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "request_headers_timeout": _seconds(limits.header_timeout_s),
            "request_timeout": _seconds(limits.request_timeout_s),
            "local_reply_config": local_replies(table, limits),
        }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _filters(table: Table, config: GatewayConfig, log: Path) -> list[Json]:
    # A request is whole before TorchServe sees any of it: a slow client holds no worker, and Lua
    # finds the whole message of gRPC.
    buffer = {
        "@type": f"{_HTTP}.buffer.v3.Buffer",
        "max_request_bytes": config.limits.request_bytes,
    }
    filters = [{"name": BUFFER_FILTER, "typed_config": buffer}]
    if table == "grpc":
        choice = f"local EXPLANATIONS = {str(config.explanations).lower()}"
        identify = [choice, _read("wire.lua"), _read("identify.lua")]
        filters.append(_lua("marina.identify", identify, clears_route=True))
    arm = [_read("wire.lua"), _read("arm.lua")]
    if table == "shadow":
        folder = json.dumps(str(log.with_name(IMAGES)), ensure_ascii=False)
        arm[1:1] = [f"local IMAGES = {folder}", _read("keep.lua")]
    filters.append(_lua(ARM_FILTER, arm, clears_route=False))
    router = {"@type": f"{_HTTP}.router.v3.Router", "suppress_envoy_headers": True}
    return [*filters, {"name": "envoy.filters.http.router", "typed_config": router}]


def _read(file: str) -> str:
    return Path(__file__).with_name(file).read_text()


def _lua(name: str, code: list[str], *, clears_route: bool) -> Json:
    return {
        "name": name,
        "typed_config": {
            "@type": f"{_HTTP}.lua.v3.Lua",
            "default_source_code": {"inline_string": "\n".join(code)},
            "clear_route_cache": clears_route,
        },
    }


def _metrics(config: GatewayConfig) -> Json:
    """Give the listener that shows of the admin interface its metrics alone."""
    routes = [
        {
            "match": {
                "path": path,
                "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
            },
            "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"},
        }
        for path in ("/metrics", "/stats/prometheus")
    ]
    router = {"@type": f"{_HTTP}.router.v3.Router"}
    manager = {
        "@type": f"{_MANAGER}.HttpConnectionManager",
        "stat_prefix": "metrics",
        "route_config": {
            "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": routes}]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    http = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "name": "metrics",
        "address": _address(config.metrics_address, config.metrics_port),
        "filter_chains": [{"filters": [http]}],
    }


def _route_source(table: Table, folder: Path) -> Json:
    source = {
        "path": str(folder / f"{table}.json"),
        "watched_directory": {"path": str(folder)},
    }
    return {
        "route_config_name": table,
        "config_source": {"path_config_source": source, "resource_api_version": "V3"},
    }


def _tls(tls: Tls, protocols: list[str]) -> Json:
    common: Json = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3",
                       "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": protocols,
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(tls.certificate.resolve())},
                "private_key": {"filename": str(tls.key.resolve())},
            }
        ],
    }  # fmt: skip
    if tls.client_ca is not None:
        trusted = {"filename": str(tls.client_ca.resolve())}
        common["validation_context"] = {"trusted_ca": trusted}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
            "require_client_certificate": tls.client_ca is not None,
        },
    }


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _seconds(seconds: float) -> str:
    return f"{seconds}s"
