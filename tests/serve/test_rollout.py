"""`marina rollout start` on a real server: a wrong version goes, a good one stays, none fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from marina.client import Client
from marina.client.management import ManagementClient
from marina.errors import ClientError, RolloutError
from marina.gateway import read_log
from marina.rollout.access import answer_of
from marina.rollout.collector import Collector
from marina.rollout.commands import Command, log_of, send
from marina.rollout.decision import Action
from marina.rollout.journal import Event
from marina.rollout.live import LiveRollout, put_aside
from marina.rollout.recorded import read_rollout_log
from marina.rollout.report import write_report
from marina.rollout.rollout import Rollout
from marina.rollout.spec import RolloutSpec
from marina.serve import Server, resolve, running

from .archives import make_archive
from .conftest import gateway_config, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

WRONG = (4.0, 1.0, 0.0)
IMAGE = b"\x89PNG as far as the gateway looks"
STARTED: list[subprocess.Popen[str]] = []
COMMAND = [sys.executable, "-c", "from marina.cli import main; main()"]


def spec(candidate: str) -> dict[str, Any]:
    return {
        "model": "stub",
        "baseline": "1.0",
        "candidate": candidate,
        "steps": [
            {"weight": 20, "min_requests": 40, "min_time_s": 2},
            {"weight": 50, "min_requests": 100, "min_time_s": 2},
        ],
        "shadow": {"percent": 50, "keep_images_percent": 100},
        "gates": {
            "error_rate": {"max_increase": 0.2},
            "class_mix": {"max_shift": 0.4, "classes": 3},
            "shadow_agreement": {"min_share": 0.7},
            "accuracy": {"max_decrease": 0.3},
        },
        "abort": {"max_time_s": 240},
    }


@dataclass
class Load:
    """Requests from a few threads; of each tenth the true class is told."""

    server: Server
    statuses: list[int] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        url = f"{self.server.rest_url}/predictions/stub"
        management = self.server.management_url
        with (
            httpx.Client(trust_env=False, timeout=60) as http,
            Client(self.server.rest_url, management=management) as client,
        ):
            while not self._stop.is_set():
                try:
                    answer = http.post(url, content=IMAGE)
                except httpx.TransportError:
                    self.statuses.append(0)
                    continue
                self.statuses.append(answer.status_code)
                if len(self.statuses) % 10 == 0:
                    client.feedback(answer.headers["x-request-id"], "class 1")
                time.sleep(0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("rollout")
    make_archive(folder, "1.0")
    make_archive(folder, "2.0", golden_logits=WRONG, stub={"logits": list(WRONG)})
    make_archive(folder, "3.0")
    make_archive(folder, "4.0", stub={"dies": True})
    models = resolve([f"stub-{version}.0.mar" for version in range(1, 5)], folder)
    with running(gateway_config(folder), models, log_dir=folder / "logs") as server:
        yield server


def start(server: Server, folder: Path, candidate: str, **changes: Any) -> subprocess.Popen[str]:
    file = folder / "rollout.yaml"
    file.write_text(yaml.safe_dump(spec(candidate) | changes))
    words = ["rollout", "start", str(file), "--log-dir", str(server.log_dir)]
    STARTED.append(
        subprocess.Popen(
            [*COMMAND, *words, "--url", server.management_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    )
    return STARTED[-1]


@pytest.fixture(autouse=True)
def no_rollout_left() -> Iterator[None]:
    """End the process of a rollout whose test failed: it would hold the journal."""
    yield
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


def ended(process: subprocess.Popen[str], code: int) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def requests_of(candidate: str, log: Path) -> int:
    try:
        rollout, _ = read_rollout_log(log)
    except RolloutError:
        return 0
    if rollout.spec.candidate != candidate:
        return 0  # the one before, which is about to be put aside
    return sum(stratum.tally.candidate.requests for stratum in rollout.strata)


def first_breach(log_dir: Path, rollout: Rollout) -> float:
    """Give when the access log first showed a breach, by looking after every few lines."""
    replayed, collector = Rollout(rollout.spec, rollout.started), Collector()
    replayed.apply({"event": "applied", "at": rollout.strata[0].since})
    for number, line in enumerate(read_log(log_dir / "gateway.log")):
        answer = answer_of(line, rollout.spec)
        if answer is not None:
            collector.answer(answer, replayed.stratum_at(answer.at))
        if number % 10 == 0:
            for position, tally in collector.take().items():
                replayed.strata[position].tally += tally
            now = datetime.fromisoformat(line["time"]).timestamp()
            if replayed.decide(now).action is Action.ROLL_BACK:
                return now
    raise AssertionError("the access log shows no breach")


def test_envoy_and_torchserve_are_killed_meanwhile(server: Server, tmp_path: Path) -> None:
    """The rollout's process lives on, and so does the split; what failed, failed in both arms."""
    log = log_of(server.log_dir, "stub")
    endless = {"steps": [{"weight": 20, "min_requests": 1_000_000}]}

    def comes_to(count: int) -> None:
        wait_until(lambda: server._supervisor.step() or requests_of("3.0", log) >= count, 180)

    with Load(server) as load, ManagementClient(server.management_url) as manager:
        process = start(server, tmp_path, "3.0", **endless)
        comes_to(20)
        for name in ("envoy", "java"):
            part = part_of(server, name)
            part.kill()
            part.wait(10)
            comes_to(requests_of("3.0", log) + 20)
            answered = load.statuses.count(200)
            wait_until(lambda: load.statuses.count(200) > answered + 20, 120)  # noqa: B023
            assert [split["weights"] for split in manager.splits()] == [{"1.0": 80, "3.0": 20}]
        assert process.poll() is None
        send(log, Command(Action.ROLL_BACK, time.time(), "seen enough"))
        said = ended(process, 11)
    assert "gate breached" not in said
    assert set(load.statuses) > {200}
    rollout, _ = read_rollout_log(log)
    assert not rollout.split_check().mismatch
    check_counts(server.log_dir, rollout, 60)


@pytest.mark.skipif("MARINA_FULL" not in os.environ, reason="it takes a minute: make test-full")
def test_a_candidate_whose_workers_die_goes(server: Server, tmp_path: Path) -> None:
    """It answers its golden image, and dies of any other; then the baseline answers as before."""
    with Load(server) as load, ManagementClient(server.management_url) as manager:
        said = ended(start(server, tmp_path, "4.0"), 11)
        assert "gate breached" in said or "the split was refused" in said
        assert [split["weights"] for split in manager.splits()] == [{"1.0": 100}]
    assert set(load.statuses) > {200}
    with httpx.Client(trust_env=False, timeout=60) as http:
        for _ in range(20):
            answer = http.post(f"{server.rest_url}/predictions/stub", content=IMAGE)
            assert (answer.status_code, answer.headers["x-marina-version"]) == (200, "1.0")


def part_of(server: Server, name: str) -> psutil.Process:
    """Give Envoy or Java of that very server."""
    folder = str(server._engine.folder)
    return next(
        child
        for child in psutil.Process().children(recursive=True)
        if child.name() == name and any(folder in word for word in child.cmdline())
    )


def test_a_wrong_version_goes_and_a_good_one_stays(server: Server, tmp_path: Path) -> None:
    log = log_of(server.log_dir, "stub")
    with Load(server) as load, ManagementClient(server.management_url) as manager:
        wait_until(lambda: len(load.statuses) > 20, 60)
        said = ended(start(server, tmp_path, "2.0"), 11)
        rollout, events = read_rollout_log(log)
        assert "gate breached" in said
        assert [split["weights"] for split in manager.splits()] == [{"1.0": 100}]
        assert events[-1]["at"] - first_breach(server.log_dir, rollout) < 10
        check_gallery(server, log, events)
        assert "rolled back" in ended(start(server, tmp_path, "2.0"), 11)  # it stays so

        process = start(server, tmp_path, "3.0")
        wait_until(lambda: requests_of("3.0", log) > 20, 120)
        process.kill()
        process.communicate()
        before = requests_of("3.0", log)
        assert [split["weights"] for split in manager.splits()] == [{"1.0": 80, "3.0": 20}]
        said = ended(start(server, tmp_path, "3.0"), 0)
        assert "going on: running, step 1" in said
        assert "3.0: promoted" in said
        seen = len(load.statuses)
        wait_until(lambda: len(load.statuses) > seen + 20, 60)
        assert manager.splits() == []
        versions = {each.version: each.is_default for each in manager.models()}
        assert versions == {"2.0": False, "3.0": True, "4.0": False}
    assert set(load.statuses) == {200}
    rollout, events = read_rollout_log(log)
    assert sum(event["event"] == "started" for event in events) == 1
    check_counts(server.log_dir, rollout, before)


def check_gallery(server: Server, log: Path, events: list[Event]) -> None:
    """The images of disagreements stand in the report; those of other copies go."""
    images = [event["image"] for event in events if event["event"] == "disagreed"]
    assert any(images)
    for image in filter(None, images):
        assert (log.parent / image).read_bytes() == IMAGE
    write_report(log, log.with_name("report.html"))
    assert 'src="data:image/png;base64,' in log.with_name("report.html").read_text()


def check_counts(log_dir: Path, rollout: Rollout, before_the_kill: int) -> None:
    """Every request of the strata is counted once, those while no rollout ran too."""
    lines = list(read_log(log_dir / "gateway.log"))
    for position, stratum in enumerate(rollout.strata[:-1]):
        answers = [answer for line in lines if (answer := answer_of(line, rollout.spec))]
        own = [a for a in answers if not a.mirrored and rollout.stratum_at(a.at) == position]
        counted = stratum.tally.baseline.requests + stratum.tally.candidate.requests
        assert counted == len(own)
    tallies = [stratum.tally for stratum in rollout.strata]
    assert sum(tally.candidate.requests for tally in tallies) > before_the_kill
    assert sum(tally.baseline.right + tally.candidate.right for tally in tallies) > 5
    assert sum(tally.pairs.agree for tally in tallies) > 20


def test_feedback(server: Server) -> None:
    with ManagementClient(server.management_url) as manager:
        manager.feedback("some-id", "class 1")
        with pytest.raises(ClientError, match=r"label has 1 to 256 characters, not 0"):
            manager.feedback("some-id", " ")
    kept = [line for line in (server.log_dir / "feedback.jsonl").read_text().split("\n") if line]
    assert json.loads(kept[-1])["request_id"] == "some-id"
    words = ["feedback", "another", "class 2", "--url", server.management_url]
    subprocess.run([*COMMAND, *words], check=True, timeout=120)
    assert '"label": "class 2"' in (server.log_dir / "feedback.jsonl").read_text()


def test_what_cannot_start(server: Server, tmp_path: Path) -> None:
    """It says why, and leaves nothing in the way of the next one."""
    asked = RolloutSpec.model_validate(spec("7.0"))
    with ManagementClient(server.management_url) as manager:
        with pytest.raises(RolloutError, match=r"no access log at .*marina serve"):
            LiveRollout(asked, tmp_path, manager, print)
        splits = manager.splits()
        put_aside(server.log_dir, asked, again=False)
        with (
            LiveRollout(asked, server.log_dir, manager, print) as live,
            pytest.raises(ClientError, match=r"stub (1.0|7.0) is not served"),
        ):
            live.run()
        assert manager.splits() == splits
    put_aside(server.log_dir, RolloutSpec.model_validate(spec("3.0")), again=False)
    assert not log_of(server.log_dir, "stub").exists()
