"""Serving archives with TorchServe: start, readiness, drain and stop.

Nothing here imports torch: that is the workers' business.
"""

from __future__ import annotations

from marina.serve.config import (
    GatewayOptions,
    ServeConfig,
    gateway_options,
    render,
)
from marina.serve.restore import kept_state
from marina.serve.running import running
from marina.serve.served import Served, resolve
from marina.serve.server import Server

__all__ = [
    "GatewayOptions",
    "ServeConfig",
    "Served",
    "Server",
    "gateway_options",
    "kept_state",
    "render",
    "resolve",
    "running",
]
