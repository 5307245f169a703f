"""The small HTTP servers: who goes away is no fault of theirs."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from marina.httpd import HttpServer


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (BrokenPipeError(32, "Broken pipe"), False),
        (ConnectionResetError(), False),
        (KeyError("x"), True),
    ],
)
def test_only_faults_of_its_own_are_told(
    error: Exception, is_told: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raise error

    with HttpServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://127.0.0.1:{server.server_port}", trust_env=False)
        server.shutdown()
        thread.join()
    assert ("Traceback" in capfd.readouterr().err) == is_told
