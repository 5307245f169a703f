"""Serving archives with TorchServe: start, readiness, drain and stop.

Nothing here imports torch: that is the workers' business.
"""

from __future__ import annotations

from marina.serve.config import ServeConfig, render
from marina.serve.served import Served, resolve
from marina.serve.server import Server, running

__all__ = ["ServeConfig", "Served", "Server", "render", "resolve", "running"]
