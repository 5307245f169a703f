"""What a server measures of itself: one live server with a gateway, a split and a shadow."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

import marina.cli  # noqa: F401 - it hangs the verbs on app
from marina.cli.app import app
from marina.client import Client, GrpcClient
from marina.client.management import ManagementClient
from marina.client.proto.inference_pb2 import PredictionsRequest
from marina.client.proto.inference_pb2_grpc import InferenceAPIsServiceStub
from marina.client.token import TokenSource
from marina.errors import BadImage, ModelNotFound
from marina.gateway import read_log
from marina.serve import GatewayOptions, Server, resolve, running

sys.path.insert(0, str(Path(__file__).parents[1]))
from pictures import encode, quadrants
from tiny import tiny_archive

from tests.docker.promql import BUILT_IN, documented, metrics_of, queries, recorded

from .conftest import gateway_config, wait_until

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
IMAGE = encode(quadrants(), "PNG")
COPIES = 8  # of the answers to requests that named no version
ANSWERS = COPIES + 6
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Live:
    """A server that was asked all sorts of things, and what Prometheus then sees of it.

    Attributes:
        server: It runs on.
        ours: ``/metrics`` of Marina and TorchServe.
        envoys: ``/metrics`` of Envoy.
    """

    server: Server
    ours: str
    envoys: str

    @property
    def samples(self) -> Samples:
        return parsed(self.ours)

    def of(self, name: str, **labels: str) -> float:
        """Sum up the samples of a name that have these labels; there is one."""
        assert any(each == name and labels.items() <= has for each, has in self.samples)
        return total(self.samples, name, **labels)


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(v for (each, has), v in samples.items() if each == name and labels.items() <= has)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("measured")
    for version in ("1.0", "2.0"):
        tiny_archive(folder, "tiny", version, explanations=True)
    config = gateway_config(folder)
    assert config.gateway is not None
    options = GatewayOptions(config.gateway.metrics_port, explanations=True)
    config = replace(config, gateway=options, tokens=True)
    models = resolve(["tiny-1.0.mar", "tiny-2.0.mar"], folder)
    with running(config, models, log_dir=folder / "logs") as server:
        use(server)
        with httpx.Client(trust_env=False, timeout=30) as http:
            wait_until(lambda: is_counted(http.get(server.metrics_url).text), 60)
            ours = http.get(server.metrics_url).text
            envoys = http.get(f"http://127.0.0.1:{options.metrics_port}/metrics").text
        yield Live(server, ours, envoys)


def use(server: Server) -> None:
    """Ask it so that each metric has something to count: `ANSWERS`, and as many copies."""
    with (
        Client(server.rest_url, token=server.token) as rest,
        GrpcClient(server.grpc_target, token=server.token) as over_grpc,
        ManagementClient(server.management_url, token=server.token) as manager,
    ):
        manager.set_split("tiny", {"1.0": 100, "2.0": 0}, shadow={"2.0": 100})
        for number in range(COPIES // 2):
            rest.predict(IMAGE, "tiny", request_id=f"over-rest-{number}")
            over_grpc.predict(IMAGE, "tiny", request_id=f"over-grpc-{number}")
        for client in (rest, over_grpc):
            client.predict(IMAGE, "tiny", "2.0")
            with pytest.raises(BadImage):
                client.predict(b"no image", "tiny", "2.0")
        with pytest.raises(ModelNotFound):
            rest.predict(IMAGE, "nobody")
        rest.explain(IMAGE, "tiny", "2.0")


def is_counted(text: str) -> bool:
    """Whether all that `use` asked for has been counted."""
    samples = parsed(text)
    return (
        total(samples, "marina_answers_total") == ANSWERS + COPIES
        and total(samples, "marina_batch_size_count", model_version="1.0") >= COPIES
        and total(samples, "marina_request_errors_total") == 2
        and total(samples, "marina_explanation_seconds_count") == 1
    )


def test_answers_by_version_transport_and_kind(live: Live) -> None:
    for transport in ("rest", "grpc"):
        of_one = {"model_version": "1.0", "transport": transport}
        assert live.of("marina_answers_total", kind="ok", **of_one) == 4
        assert live.of("marina_request_seconds_count", **of_one) == 4
        bad = {"model_version": "2.0", "transport": transport, "status": "400"}
        assert live.of("marina_answers_total", kind="bad_request", **bad) == 1
        assert live.of("marina_answers_total", kind="server_fault", **of_one) == 0
    assert (
        live.of("marina_answers_total", model_version="2.0", transport="shadow", kind="ok")
        == COPIES
    )
    assert 0 < live.of("marina_request_seconds_sum") < 60


def test_a_name_that_a_client_made_up_is_no_label(live: Live) -> None:
    assert live.of("marina_answers_total", kind="not_found", model_name="") == 1
    assert 'model_name="nobody"' not in re.sub(r"(?m)^ts_.*", "", live.ours)


def test_stages_in_seconds_and_sizes_of_batches(live: Live) -> None:
    for version in ("1.0", "2.0"):
        handled = live.of("marina_requests_total", model_version=version)
        assert live.of("marina_batch_size_sum", model_version=version) == handled >= 4
        for stage in ("queue", "backend"):
            assert live.of(f"marina_{stage}_seconds_count", model_version=version) >= 4
        whole = live.of("marina_backend_seconds_sum", model_version=version)
        for stage in ("decode", "preprocess", "inference", "postprocess"):
            spent = live.of(f"marina_{stage}_seconds_sum", model_version=version)
            assert 0 < spent < whole, stage
    assert live.of("marina_explanation_seconds_count", model_version="2.0") == 1
    assert live.of("marina_request_errors_total", status="400", model_version="2.0") == 2
    assert live.of("marina_batch_size_limit", model_version="1.0") == 4


def test_what_is_predicted_is_counted_for_drift(live: Live) -> None:
    """Marina's own golden images are not, nor is what was refused."""
    assert live.of("marina_predictions_total", model_version="1.0", label="red") == 8
    assert live.of("marina_confidence_count", model_version="1.0") == 8
    assert live.of("marina_confidence_bucket", model_version="1.0", le="0.3") == 0
    assert live.of("marina_confidence_bucket", model_version="1.0", le="0.4") == 8


def test_how_the_server_is(live: Live) -> None:
    for name in ("marina_ready", "marina_torchserve_up", "marina_gateway_up"):
        assert live.of(name) == 1
    for served in live.server.models:
        own = {"model_name": "tiny", "model_version": served.version}
        is_default = str(served.version == "1.0").lower()
        digest = {"sha256": served.sha256, "is_default": is_default}
        assert live.of("marina_model_info", **own, **digest) == 1
        assert live.of("marina_workers_ready", **own) == 1
        assert live.of("marina_workers_wanted", **own) == 1
        assert live.of("marina_workers_given_up", **own) == 0
        assert live.of("marina_worker_restarts_total", **own) == 0
        assert live.of("marina_queue_limit", **own) == 100
    assert live.of("marina_split_percent", model_version="1.0", kind="split") == 100
    assert live.of("marina_split_percent", model_version="2.0", kind="shadow") == 100
    assert live.of("marina_repairs_total") == 0
    assert live.of("process_resident_memory_bytes") > 1e7
    assert live.of("ts_inference_requests_total", model_version="2.0") >= 4


@pytest.fixture
def load(live: Live) -> Iterator[None]:
    """Have somebody ask, rightly and wrongly, while a test runs."""
    stop = threading.Event()

    def ask() -> None:
        with Client(live.server.rest_url, token=live.server.token) as client:
            while not stop.wait(0.02):
                client.predict(IMAGE, "tiny")
                with pytest.raises(BadImage):
                    client.predict(b"no image", "tiny", "2.0")

    asker = threading.Thread(target=ask)
    asker.start()
    yield
    stop.set()
    asker.join()


def top(live: Live, *words: str) -> str:
    done = CliRunner().invoke(app, ["top", "--metrics-url", live.server.metrics_url, *words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("load")
def test_top_gives_a_sample_and_needs_no_token(live: Live) -> None:
    sample = json.loads(top(live, "--json"))
    assert (sample["is_ready"], sample["clock"], sample["repairs"]) == (True, "gateway", 0)
    assert sample["requests_per_s"] > 0
    assert sample["errors_per_s"].keys() == {"bad_request"}
    one, two = sample["versions"]
    assert (one["version"], one["is_default"], one["split_percent"]) == ("1.0", True, 100)
    assert one["errors_per_s"] == {}
    assert 0 < one["p50_ms"] <= one["p99_ms"]
    assert two["errors_per_s"].keys() == {"bad_request"}
    for version in sample["versions"]:
        assert (version["workers_ready"], version["workers_wanted"]) == (1, 1)
        assert 1 <= version["batch_size"] <= version["batch_limit"] == 4
        assert version["queue_limit"] == 100


@pytest.mark.usefixtures("load")
def test_top_draws_a_table(live: Live) -> None:
    drawn = top(live, "--once")
    assert "requests/s" in drawn
    assert "bad_request" in drawn


@pytest.mark.usefixtures("load")
def test_top_draws_until_ctrl_c(live: Live) -> None:
    """In a real terminal of its own."""
    mine, its = pty.openpty()
    command = [str(Path(sys.prefix) / "bin" / "marina"), "top", "--interval", "0.1"]
    process = subprocess.Popen(
        [*command, "--metrics-url", live.server.metrics_url],
        stdin=its, stdout=its, stderr=its, env={**os.environ, "COLUMNS": "140", "LINES": "20"},
    )  # fmt: skip
    os.close(its)
    try:
        seen = b""
        while seen.count(b"bad_request") < 2:  # drawn, and drawn again
            seen += os.read(mine, 65536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # so Linux says that the terminal's other end is closed
            while True:
                os.read(mine, 65536)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(mine)


def test_each_series_is_there_once(live: Live) -> None:
    lines = [line.rpartition(" ")[0] for line in live.ours.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    types = [line for line in live.ours.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len({line.split()[2] for line in types})


def test_a_request_id_is_in_every_log(live: Live) -> None:
    """From the client over the gateway to the handler, over both transports, and in copies."""
    log_dir = live.server.log_dir
    batches = handler_lines(log_dir / "torchserve.log")
    at_the_gateway = [line["request_id"] for line in read_log(log_dir / "gateway.log")]
    for transport in ("rest", "grpc"):
        for number in range(4):
            own = f"over-{transport}-{number}"
            versions = {line["version"] for line in batches if own in line["requests"]}
            assert versions == {"1.0", "2.0"}, own
            assert at_the_gateway.count(own) == 2


def test_an_id_that_a_stranger_gives_over_grpc_reaches_the_handler(live: Live) -> None:
    """Marina's own client puts it into the message too; TorchServe hands on no metadata."""
    token = TokenSource(live.server.token, "inference").current()
    request = PredictionsRequest(model_name="tiny", input={"data": IMAGE})
    with grpc.insecure_channel(live.server.grpc_target) as channel:
        InferenceAPIsServiceStub(channel).Predictions(
            request, metadata=[("x-request-id", "x" * 200), ("authorization", f"Bearer {token}")]
        )
    log = live.server.log_dir / "torchserve.log"
    wait_until(lambda: any(line["requests"] == ["x" * 128] for line in handler_lines(log)))


def handler_lines(log: Path) -> list[dict[str, object]]:
    events = [json.loads(line) for line in log.read_text().splitlines()]
    said = [event["message"] for event in events if event["source"] == "MODEL_LOG"]
    return [json.loads(message) for message in said if message.startswith('{"event"')]


@pytest.mark.parametrize("name", ["torchserve.log", "access.log", "gateway.log", "marina.log"])
def test_each_line_of_a_log_is_json_with_its_time(live: Live, name: str) -> None:
    lines = (live.server.log_dir / name).read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert events
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", e["time"]) for e in events)


def test_workers_warn_of_nothing(live: Live) -> None:
    """What torch announces of TorchScript's end is silenced where it arises, by its category."""
    lines = (live.server.log_dir / "torchserve.log").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    said = [event["message"] for event in events if event["thread"].startswith("W-")]
    assert said
    assert [text for text in said if "Warning" in text] == []


def names(text: str) -> set[str]:
    """Give the names of all samples that a page has, or that its families would have."""
    found = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[:1] != "#"}
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            found |= {name + part for part in parts}
    return found


def families(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def test_what_rules_and_dashboards_name_is_there(live: Live) -> None:
    there = names(live.ours) | names(live.envoys) | recorded() | BUILT_IN
    asked = [(where, name) for where, query in queries() for name in metrics_of(query)]
    assert len(asked) > 100
    assert [(where, name) for where, name in asked if name not in there] == []


def test_what_the_page_documents_is_there_and_all_of_it(live: Live) -> None:
    """Envoy's own, of which there are hundreds, are documented by Envoy."""
    there = families(live.ours)
    assert documented() <= there | families(live.envoys)
    assert there <= documented()
