"""The page's own small server: the page's files, and the way from it to the client.

A page may only ask the server that it came from, and management listens on loopback alone, so
both reach the models through `marina.client` here.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from marina.client.options import MIB
from marina.errors import (
    BadRequest,
    ClientError,
    Conflict,
    ModelNotFound,
    NotOffered,
    TooLarge,
)
from marina.httpd import HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from marina.client import Client
    from marina.client.management import ManagementClient

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
LOOPBACK = {"127.0.0.1", "localhost"}
MAX_IMAGE_BYTES = 64 * MIB
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageServer(HttpServer):
    """Serves the page on loopback until `shutdown`.

    Args:
        client: Of the server whose models are tried, with the option ``management``.
        port: Where to listen; 0 takes a free one.
        manager: Tells how the server's traffic is split.
        token_file: The ``key_file.json`` that requests to copy shall name; None if there is none.

    Raises:
        OSError: The port is taken.
    """

    def __init__(
        self,
        client: Client,
        port: int,
        manager: ManagementClient,
        token_file: Path | None = None,
    ):
        super().__init__(("127.0.0.1", port), _Page)
        self.client = client
        self.manager = manager
        self.token_file = token_file

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PageServer

    def do_GET(self) -> None:
        """Give a file of the page, or what is served."""
        path = urlsplit(self.path).path
        if path in PAGE:
            name, kind = PAGE[path]
            self._send(200, (files("marina.ui") / "page" / name).read_bytes(), kind)
        elif path == "/api/status":
            self._answer(lambda: _status(self.server))
        else:
            self._refuse(ModelNotFound(f"nothing is at {path}"))

    def do_POST(self) -> None:
        """Ask the server about an image: ``/api/(predict|explain)/MODEL/VERSION``."""
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        match parts:
            case ["api", "predict", model, version]:
                self._answer(lambda: _predict(self.server.client, self._body(), model, version))
            case ["api", "explain", model, version]:
                self._answer(lambda: _explain(self.server.client, self._body(), model, version))
            case _:
                self._refuse(ModelNotFound(f"nothing is at {self.path}"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet: the models' own server has the access log."""

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise BadRequest("expected an image as a body with a Content-Length")
        if int(length) > MAX_IMAGE_BYTES:
            self.close_connection = True  # the body is not read
            raise TooLarge(f"expected at most {MAX_IMAGE_BYTES // MIB} MiB, got {length} bytes")
        return self.rfile.read(int(length))

    def _check_asker(self) -> None:
        """Keep other sites' pages from the models, which they could reach through a browser here.

        Fetch metadata (W3C) tells of another site, the host of a name that was bound anew to
        127.0.0.1.
        """
        host = self.headers.get("Host", "").rpartition(":")[0]
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if host not in LOOPBACK or site != "same-origin":
            self.close_connection = True
            raise BadRequest("expected a request of this page, got another site's")

    def _answer(self, ask: Callable[[], object]) -> None:
        try:
            self._check_asker()
            document = ask()
        except ClientError as err:
            self._refuse(err)
        else:
            self._send_json(200, document)

    def _refuse(self, err: ClientError) -> None:
        status = err.status or 502
        body = {"code": status, "type": type(err).__name__, "message": str(err)}
        self._send_json(status, body)

    def _send_json(self, status: int, document: object) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _status(server: PageServer) -> dict[str, Any]:
    readiness = server.client.ready()
    found = sorted(server.client.models(), key=attrgetter("name", "version"))
    return {
        "url": server.client.url,
        "token_file": server.token_file and str(server.token_file),
        "ready": readiness.is_ready,
        "reason": readiness.reason,
        "models": [
            {"name": name, "versions": [asdict(version) for version in versions]}
            for name, versions in groupby(found, key=attrgetter("name"))
        ],
        "splits": _splits(server.manager),
    }


def _splits(manager: ManagementClient) -> dict[str, dict[str, float]]:
    """Give each model's versions with their percent; nothing where there is no gateway."""
    try:
        splits = manager.splits()
    except (Conflict, ModelNotFound, NotOffered):  # the latter two from TorchServe without Marina
        return {}
    return {split["model"]: split["weights"] for split in splits}


def _predict(client: Client, image: bytes, model: str, version: str) -> dict[str, Any]:
    started = time.perf_counter()
    predictions = client.predict(image, model, version, top_k=5)
    milliseconds = (time.perf_counter() - started) * 1e3
    return {"milliseconds": milliseconds, "predictions": [asdict(each) for each in predictions]}


def _explain(client: Client, image: bytes, model: str, version: str) -> dict[str, Any]:
    explanation = client.explain(image, model, version)
    heatmap = b64encode(explanation.heatmap).decode()
    return {**asdict(explanation), "heatmap": heatmap}
