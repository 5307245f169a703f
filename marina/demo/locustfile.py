"""Users of the digits model who tell afterwards which digit it was.

locust -f marina/demo/locustfile.py DigitUser --headless --users 3 \
    --host http://127.0.0.1:8080 --management http://127.0.0.1:8081 --images data/digits/test
"""

from __future__ import annotations

import random
from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from geventhttpclient import HTTPClient
from locust import events

# What listens to Locust's events there does so here too.
from marina.bench.locustfile import RestUser
from marina.bench.wires import TIMEOUT_S, Answer, RestWire


class DigitWire(RestWire):
    """REST, each request under an id of its own.

    Attributes:
        last_id: Of the last request.
    """

    last_id = ""

    def send(self, image: bytes) -> Answer:
        """Send one image over the wire."""
        self.last_id = uuid4().hex
        self.headers["X-Request-Id"] = self.last_id
        return super().send(image)


class DigitUser(RestUser):
    """A client over REST; its images lie in folders that are named after their classes."""

    wire = DigitWire
    _wire: DigitWire

    def on_start(self) -> None:
        """Open the connections, and read what each image shows."""
        super().on_start()
        options = self.environment.parsed_options or Namespace()
        # In the order of their classes each step of a rollout would see another few of them.
        self._images = tuple(random.sample(self._images, len(self._images)))
        files = Path(options.images).rglob("*.png")
        self._truths = {file.read_bytes(): file.parent.name for file in files}
        self._manager = HTTPClient.from_url(
            options.management, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S
        )

    def ask(self, image: bytes, intended_s: float) -> Answer:
        """Send one image, then tell its true class; that is no part of its latency."""
        answer = super().ask(image, intended_s)
        if answer.status == 200:
            told = urlencode({"request_id": self._wire.last_id, "label": self._truths[image]})
            self._manager.post(f"/feedback?{told}", body=b"").read()
        return answer


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add the option of what is told afterwards."""
    parser.add_argument(
        "--management", default="http://127.0.0.1:8081", help="URL that takes the true classes"
    )
