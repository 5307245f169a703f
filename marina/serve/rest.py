"""The management side over REST."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from marina.client.call import Call, Operation
from marina.httpd import HttpServer

if TYPE_CHECKING:
    from marina.serve.reception import Answer, Reception

_PART = "[^/]+"
_ROUTES = [
    (
        method,
        re.compile(
            path.replace("{model}", f"(?P<model>{_PART})").replace(
                "{version}", f"(?P<version>{_PART})"
            )
        ),
        operation,
    )
    for method, path, operation in (
        ("GET", "/ready", Operation.READY),
        ("GET", "/ready/{model}", Operation.READY),
        ("GET", "/ready/{model}/{version}", Operation.READY),
        ("GET", "/models", Operation.LIST),
        ("GET", "/models/{model}", Operation.DESCRIBE),
        ("GET", "/models/{model}/{version}", Operation.DESCRIBE),
        ("POST", "/models", Operation.REGISTER),
        ("POST", "/models/{model}/policy", Operation.SET_POLICY),
        ("PUT", "/models/{model}", Operation.SCALE),
        ("PUT", "/models/{model}/{version}", Operation.SCALE),
        ("PUT", "/models/{model}/{version}/set-default", Operation.SET_DEFAULT),
        ("PUT", "/models/{model}/{version}/switch", Operation.SWITCH),
        ("GET", "/splits", Operation.SPLITS),
        ("PUT", "/splits/{model}", Operation.SET_SPLIT),
        ("DELETE", "/splits/{model}", Operation.CLEAR_SPLIT),
        ("POST", "/feedback", Operation.FEEDBACK),
        ("DELETE", "/models/{model}", Operation.UNREGISTER),
        ("DELETE", "/models/{model}/{version}", Operation.UNREGISTER),
    )
]
_MAX_BODY_BYTES = 1 << 16
_IDLE_TIMEOUT_S = 60.0


class RestManagement:
    """Listens for management calls over REST, in threads of its own.

    Args:
        reception: Answers them.
        address: Where to listen.
        port: Where to listen.
    """

    def __init__(self, reception: Reception, address: str, port: int):
        handler = type("Handler", (_Handler,), {"reception": reception})
        self._server = HttpServer((address, port), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; a call under way is not waited for."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Marina"
    sys_version = ""
    timeout = _IDLE_TIMEOUT_S
    disable_nagle_algorithm = True
    reception: Reception

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Keep quiet: operations are told of where they run."""

    def _answer(self) -> None:
        self._skip_body()
        status, document = self._find_answer()
        body = (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _skip_body(self) -> None:
        """Read what nobody asked for, so that it is not taken for the next request."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
        else:
            self.rfile.read(int(length))

    def _find_answer(self) -> Answer:
        call = route(self.command, self.path)
        if call is None:
            return _error(404, "ResourceNotFoundException", "there is nothing at this path")
        return self.reception.answer(call, self.headers.get("Authorization"))


def route(method: str, target: str) -> Call | None:
    """Give the call that a request line stands for, None if it stands for none."""
    parts = urlsplit(target)
    for known, pattern, operation in _ROUTES:
        found = pattern.fullmatch(parts.path.rstrip("/"))
        if found and known == method:
            names = {key: unquote(value) for key, value in found.groupdict().items()}
            arguments = dict(parse_qsl(parts.query, keep_blank_values=True))
            model = names.get("model") or arguments.get("model_name", "")
            return Call(operation, model, names.get("version"), arguments=arguments)
    return None


def _error(status: int, type_: str, message: str) -> Answer:
    return status, {"code": status, "type": type_, "message": message}
