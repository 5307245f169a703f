"""``/metrics``: what Marina counts, and behind it what TorchServe says of itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from marina.httpd import HttpServer

_TIMEOUT_S = 3.0
_IDLE_TIMEOUT_S = 60.0
_OURS = ("marina_", "# HELP marina_", "# TYPE marina_")


class Exposition:
    """Listens for Prometheus, in threads of its own.

    It asks for no token, as TorchServe's own metrics ask for none.

    Args:
        registry: What Marina counts.
        torchserve: Gives the address of TorchServe's own metrics.
        address: Where to listen.
        port: Where to listen.
    """

    def __init__(
        self, registry: CollectorRegistry, torchserve: Callable[[], str], address: str, port: int
    ):
        self._registry = registry
        self._torchserve = torchserve
        handler = type("Handler", (_Handler,), {"text": staticmethod(self.text)})
        self._server = HttpServer((address, port), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def text(self) -> bytes:
        """Give all metrics in Prometheus's text format 0.0.4.

        TorchServe's are left out while it does not answer. It names ours too, which an archive
        with an older handler may still count; ours hold.
        """
        try:
            answer = httpx.get(self._torchserve(), timeout=_TIMEOUT_S, trust_env=False)
            lines = answer.raise_for_status().text.splitlines(keepends=True)
        except httpx.HTTPError:
            lines = []
        kept = "".join(line for line in lines if not line.startswith(_OURS))
        return generate_latest(self._registry) + kept.encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Marina"
    sys_version = ""
    timeout = _IDLE_TIMEOUT_S
    text: Callable[[], bytes]

    def do_GET(self) -> None:
        is_there = urlsplit(self.path).path == "/metrics"
        body = self.text() if is_there else b"the metrics are at /metrics\n"
        self.send_response(200 if is_there else 404)
        self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4 if is_there else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""
