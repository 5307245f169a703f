"""The small HTTP servers of Marina's own: management, metrics and the page."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class HttpServer(ThreadingHTTPServer):
    """Answers each connection in a thread; a client that goes away meanwhile is no fault."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of what went wrong here, and of nothing else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
