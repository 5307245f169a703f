"""The configuration that Envoy starts with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marina.gateway.clusters import clusters
from marina.gateway.config import GatewayConfig
from marina.gateway.listeners import listeners

Json = dict[str, Any]

_TYPE = "type.googleapis.com"


def bootstrap(config: GatewayConfig, folder: Path, log: Path) -> Json:
    """Give the configuration that Envoy starts with.

    Args:
        config: The gateway's.
        folder: Private to this gateway: it holds the route tables, and the socket of Envoy's
            admin interface, which only this user may reach.
        log: The access log.
    """
    internal_listener = {
        "name": "envoy.bootstrap.internal_listener",
        "typed_config": {
            "@type": f"{_TYPE}/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
        },
    }
    most_connections = {
        "@type": f"{_TYPE}/envoy.extensions.resource_monitors.downstream_connections.v3."
        "DownstreamConnectionsConfig",
        "max_active_downstream_connections": config.limits.connections,
    }
    monitor = "envoy.resource_monitors.global_downstream_max_connections"
    return {
        "node": {"id": "marina", "cluster": "marina"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock"), "mode": 0o600}}},
        "bootstrap_extensions": [internal_listener],
        "static_resources": {
            "listeners": listeners(config, folder, log),
            "clusters": clusters(config, folder),
        },
        "overload_manager": {
            "resource_monitors": [{"name": monitor, "typed_config": most_connections}]
        },
    }
