"""What the demo of rollouts makes of its outcomes, and its live load."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from marina.demo.load import LiveLoad
from marina.demo.rollouts import ROLLOUT, Outcome, check
from marina.errors import RolloutError
from marina.rollout.decision import Action, Decision
from marina.rollout.gates import Evidence, Status
from marina.rollout.rollout import Rollout
from marina.rollout.spec import read_rollout
from marina.rollout.tally import ArmTally, Tally

REPO = Path(__file__).parents[2]


def evidence(**statuses: Status) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(gate, status, True, 0.0, 0.1, 0.0, 0.2, 100, None, "", "so it is")
        for gate, status in statuses.items()
    )


def outcome(role: str, action: Action, counted: tuple[int, int] = (70, 30), **gates: Status) -> Any:
    rollout = Rollout(read_rollout(REPO / ROLLOUT), 0.0)
    rollout.apply({"event": "applied", "at": 0.0})
    rollout.apply(Decision(action, 1.0, 0, "").as_event())
    baseline, candidate = (ArmTally(requests=count, assigned=count) for count in counted)
    rollout.strata[0].tally = Tally(baseline=baseline, candidate=candidate)
    return Outcome(SimpleNamespace(role=role), rollout, evidence(**gates), 1.0)  # type: ignore[arg-type]


BREACHED, PASSED = Status.BREACHED, Status.PASSED
DESERVED = [
    outcome("wrong", Action.ROLL_BACK, accuracy=BREACHED, p50_ratio=Status.OPEN),
    outcome("slower", Action.ROLL_BACK, p50_ratio=BREACHED, accuracy=PASSED),
    outcome("better", Action.PROMOTE, p50_ratio=PASSED, accuracy=PASSED),
]


def test_what_each_candidate_deserves_passes() -> None:
    check(DESERVED, Counter({200: 1000}))


@pytest.mark.parametrize(
    ("unexpected", "message"),
    [
        (outcome("wrong", Action.PROMOTE, accuracy=PASSED), "was promoted, not rolled back"),
        (outcome("wrong", Action.ROLL_BACK, p50_ratio=BREACHED), "the wrong candidate, 4.0, was"),
        (outcome("slower", Action.ROLL_BACK, accuracy=BREACHED), "accuracy: so it is"),
        (
            outcome("slower", Action.ROLL_BACK, p50_ratio=Status.OPEN),
            "try again when it is quieter",
        ),
        (outcome("better", Action.ROLL_BACK, p50_ratio=BREACHED), "was rolled back, not promoted"),
        (outcome("better", Action.PROMOTE, (10, 990)), "the traffic is NOT split as declared"),
    ],
)
def test_an_unexpected_verdict_is_an_error(unexpected: Outcome, message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        check([*DESERVED, unexpected], Counter({200: 1000}))


def test_a_failed_request_is_an_error() -> None:
    with pytest.raises(
        RolloutError, match=r"3 of 1,000 requests failed, .* 0: 1, 200: 997, 503: 2"
    ):
        check(DESERVED, Counter({200: 997, 503: 2, 0: 1}))


@dataclass
class Asked:
    """What a server was sent: the image of each request id, and the label that was told of it."""

    images: dict[str, bytes] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    log_dir: Path = Path()
    url: str = ""

    @property
    def rest_url(self) -> str:
        return self.url

    @property
    def management_url(self) -> str:
        return self.url


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[Asked]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path)
        if parts.path == "/feedback":
            told = parse_qs(parts.query)
            self.asked.labels[told["request_id"][0]] = told["label"][0]
        elif parts.path == "/predictions/resnet":
            self.asked.images[self.headers["X-Request-Id"]] = body
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    asked = Asked(log_dir=tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"asked": asked}))
    server.daemon_threads = True
    asked.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield asked
    server.shutdown()
    server.server_close()


def test_the_live_load_tells_the_truth_of_each_image(asked: Asked, tmp_path: Path) -> None:
    for digit in ("3", "7"):
        (tmp_path / "images" / digit).mkdir(parents=True)
        (tmp_path / "images" / digit / "0.png").write_bytes(digit.encode())
    (tmp_path / "locust.json").write_text('{"status": {"500": 1}}')  # of a load before
    load = LiveLoad(asked, tmp_path / "images", users=2)  # type: ignore[arg-type]
    with load:
        with pytest.raises(RolloutError, match="left no record"):
            load.statuses()
        deadline = time.monotonic() + 120
        while len(asked.labels) < 20:
            load.check()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert {asked.images[name].decode() for name in asked.labels} == {"3", "7"}
    assert all(asked.images[name].decode() == label for name, label in asked.labels.items())
    assert load.statuses().keys() == {200}
    assert load.statuses().total() >= 20
    with pytest.raises(RolloutError, match=r"the load ended before .*locust.log says why"):
        load.check()
    (tmp_path / "locust.json").write_text(json.dumps({"status": None})[:5])
    with pytest.raises(RolloutError, match="left no record"):
        load.statuses()
