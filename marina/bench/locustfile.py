r"""Locust users that classify images, over REST and over gRPC, in closed and in open loop.

`marina bench` runs them through `marina.bench.agent`. They are a plain locustfile as well, with
Locust's web UI and its distributed master and workers:

    locust -f marina/bench/locustfile.py RestUser --host http://127.0.0.1:8080 --images photos/
    locust -f marina/bench/locustfile.py GrpcUser --grpc-target 127.0.0.1:7070 --images photos/
    locust -f marina/bench/locustfile.py RestUser --headless -u 1 -t 60s --arrival-rate 50 \
        --images photos/ --record samples.json

Closed loop: a user sends when it has its answer. Open loop (``--arrival-rate``): each user is a
stream of so many arrivals a second, and a request's latency counts from when it should have
started; a stall of the server is then seen by all who would have come meanwhile, not by one.
"""

from __future__ import annotations

import json
import random
import time
from argparse import Namespace
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
import grpc.experimental.gevent as grpc_gevent
from gevent.pool import Pool
from locust import User, constant, events, task
from locust.runners import MasterRunner, WorkerRunner

from marina.bench.wires import MOST_IN_FLIGHT, Answer, GrpcWire, RestWire, Wire

if TYPE_CHECKING:
    from locust.env import Environment

grpc_gevent.init_gevent()

DRAIN_S = 10.0  # for answers of an open loop that are due when it ends
NO_ANSWER = 0  # in place of an HTTP status

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".bin"}


@dataclass
class Samples:
    """Every request: when it should have started, its latency, its status.

    Attributes:
        start_s: Seconds since the epoch.
        latency_ms: To the last byte of the answer.
        status: See `Answer`.
        upstream_ms: See `Answer`.
        errors: How often each error message came.
    """

    start_s: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    upstream_ms: list[float | None] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def add(self, start_s: float, latency_ms: float, answer: Answer) -> None:
        """Keep one request."""
        self.start_s.append(round(start_s, 6))
        self.latency_ms.append(round(latency_ms, 4))
        self.status.append(answer.status)
        self.upstream_ms.append(answer.upstream_ms)
        if answer.status != 200:
            text = f"{answer.status}: {answer.body[:300].decode('utf-8', 'replace')}"
            self.errors[text] = self.errors.get(text, 0) + 1

    def merge(self, other: dict[str, Any]) -> None:
        """Take over what another process has kept."""
        for name in ("start_s", "latency_ms", "status", "upstream_ms"):
            getattr(self, name).extend(other[name])
        for text, count in other["errors"].items():
            self.errors[text] = self.errors.get(text, 0) + count

    def take(self) -> dict[str, Any]:
        """Give all that is kept, and keep it no longer."""
        taken = dict(vars(self))
        self.__init__()  # type: ignore[misc]
        return taken


class ImageUser(User):
    """A client that sends images in turn, each user beginning at another one.

    Attributes:
        wire: How they travel.
    """

    wire: type[Wire]
    abstract = True
    wait_time = constant(0)

    def on_start(self) -> None:
        """Open the connections."""
        options = self.environment.parsed_options or Namespace()
        self._rate: float | None = getattr(options, "arrival_rate", None) or None
        self._is_poisson = getattr(options, "arrivals", "uniform") == "poisson"
        self._images = read_images(str(options.images))
        self._turn = random.randrange(len(self._images))  # noqa: S311 - no secret
        self._in_flight = Pool(MOST_IN_FLIGHT)
        self._due_s = time.perf_counter()
        self._wire = self.wire(options, self.environment.host)

    @task
    def classify(self) -> None:
        """Send one image and wait, or go on sending at a fixed rate."""
        if self._rate is None:
            self.ask(self._next_image(), time.perf_counter())
        else:
            self._arrive(self._rate)

    def on_stop(self) -> None:
        """Wait for the answers that are due; a request without one by then has failed."""
        self._in_flight.join(DRAIN_S)
        self._in_flight.kill()

    def ask(self, image: bytes, intended_s: float) -> Answer:
        """Send one image; its latency counts from ``intended_s`` on the performance counter."""
        start_s = time.time() - (time.perf_counter() - intended_s)
        try:
            answer = self._wire.send(image)
        except gevent.GreenletExit:
            if self._is_waited_for:
                none = Answer(NO_ANSWER, b"no answer when the load ended")
                self._report(start_s, intended_s, none)
            raise
        except Exception as err:
            answer = Answer(NO_ANSWER, f"{type(err).__name__}: {err}".encode())
        self._report(start_s, intended_s, answer)
        return answer

    @property
    def _is_waited_for(self) -> bool:
        """Whether answers are waited for at the end; Locust by itself cuts a closed loop."""
        return self._rate is not None or bool(self.environment.stop_timeout)

    def _arrive(self, rate: float) -> None:
        """Wait for the next arrival, and answer for it in a greenlet of its own."""
        self._due_s += random.expovariate(rate) if self._is_poisson else 1 / rate
        gevent.sleep(max(0.0, self._due_s - time.perf_counter()))
        self._in_flight.spawn(self.ask, self._next_image(), self._due_s)

    def _next_image(self) -> bytes:
        self._turn += 1
        return self._images[self._turn % len(self._images)]

    def _report(self, start_s: float, intended_s: float, answer: Answer) -> None:
        failure = None
        if answer.status != 200:
            failure = RuntimeError(f"{answer.status}: {answer.body[:300]!r}")
        self.environment.events.request.fire(
            request_type=type(self).__name__,
            name="predict",
            response_time=(time.perf_counter() - intended_s) * 1e3,
            response_length=len(answer.body),
            exception=failure,
            context={"answer": answer},
            start_time=start_s,
        )


class RestUser(ImageUser):
    """A client over REST."""

    wire = RestWire


class GrpcUser(ImageUser):
    """A client over gRPC, each user with a connection of its own."""

    wire = GrpcWire


@lru_cache(maxsize=1)
def read_images(folder: str) -> tuple[bytes, ...]:
    """Read the images of a folder, or of a JSON list of files."""
    path = Path(folder)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES)
    else:
        files = [Path(name) for name in json.loads(path.read_text())]
    if not files:
        raise FileNotFoundError(f"no images in {folder}: name a folder of them with --images")
    return tuple(file.read_bytes() for file in files)


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add the users' options to Locust's own."""
    group = parser.add_argument_group("images")
    group.add_argument("--images", required=False, default="images", help="Folder of the images")
    group.add_argument("--model", default="resnet", help="Name of the model")
    group.add_argument("--model-version", default="", help="Default: the server's default")
    group.add_argument("--grpc-target", default="127.0.0.1:7070", help="host:port, for GrpcUser")
    group.add_argument(
        "--arrival-rate", type=float, default=0.0, help="Open loop: requests per second and user"
    )
    group.add_argument("--arrivals", choices=["uniform", "poisson"], default="uniform")
    group.add_argument("--record", default="", help="File that gets every latency, as JSON")


@events.init.add_listener
def record(environment: Environment, **_: Any) -> None:
    """Keep every request; Locust's own statistics round latencies and forget when they were.

    Workers pass theirs to the master, which writes them when the test stops.
    """
    samples = Samples()
    environment.samples = samples  # type: ignore[attr-defined]

    def on_request(
        response_time: float, context: dict[str, Any], start_time: float, **_: Any
    ) -> None:
        samples.add(start_time, response_time, context["answer"])

    def on_report(data: dict[str, Any], **_: Any) -> None:
        data["marina_samples"] = samples.take()

    def on_worker(data: dict[str, Any], **_: Any) -> None:
        samples.merge(data["marina_samples"])

    def on_quitting(**_: Any) -> None:
        file = getattr(environment.parsed_options, "record", "")
        if file and not isinstance(environment.runner, WorkerRunner):
            Path(file).write_text(json.dumps(samples.take()))

    if not isinstance(environment.runner, MasterRunner):
        environment.events.request.add_listener(on_request)
    if isinstance(environment.runner, WorkerRunner):
        environment.events.report_to_master.add_listener(on_report)
    if isinstance(environment.runner, MasterRunner):
        environment.events.worker_report.add_listener(on_worker)
    environment.events.quitting.add_listener(on_quitting)
