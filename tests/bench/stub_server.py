"""A server of the tests' own: it answers as TorchServe does, after some time.

    python stub_server.py DELAY_MS STALL_EVERY STALL_MS FAIL_EVERY

It prints its port. Every so many requests it stands still for all of them, or answers 503.
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

delay_ms, stall_every, stall_ms, fail_every = map(int, sys.argv[1:])
whole = threading.Lock()
count = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        global count
        self.rfile.read(int(self.headers["Content-Length"]))
        with whole:
            count += 1
            number = count
            if stall_every and number % stall_every == 0:
                time.sleep(stall_ms / 1e3)
        time.sleep(delay_ms / 1e3)
        failed = fail_every and number % fail_every == 0
        body = b'{"code": 503, "type": "Busy", "message": "no worker"}' if failed else b'{"0": 1.0}'
        self.send_response(503 if failed else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-envoy-upstream-service-time", str(delay_ms))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)  # noqa: T201
server.serve_forever()
