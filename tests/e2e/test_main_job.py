"""The main job: the demo, what it leaves, and its archive under plain TorchServe."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from marina.client.token import read_key_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def first_demo(checkout: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["make", "demo", "ARGS=--once"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_demo_serves_what_it_trained(
    first_demo: subprocess.CompletedProcess[str], checkout: Path
) -> None:
    assert "every answer over the wire is the lab's, image by image" in first_demo.stdout
    metrics = json.loads(next((checkout / "runs" / "resnet").glob("*/metrics.json")).read_text())
    assert metrics["test"]["accuracy"] >= 0.98
    assert metrics["seconds"] < 180
    accuracy = f"{metrics['test']['accuracy']:.2%}"
    for protocol in ("REST", "gRPC"):
        line = f"{protocol}: accuracy over the wire {accuracy}, in the lab {accuracy}"
        assert line in first_demo.stdout


def test_a_second_demo_reuses_what_is_fresh(
    first_demo: subprocess.CompletedProcess[str], checkout: Path, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        ["marina", "demo", "--once"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "recipe and images are unchanged" in done.stderr
    assert "parity was proved" in done.stderr
    assert "resnet-1.0.mar is unchanged" in done.stderr
    assert len(list((checkout / "runs" / "resnet").iterdir())) == 1
    strays = [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(checkout)]
    assert strays == []


@pytest.fixture
def serving(
    first_demo: subprocess.CompletedProcess[str], checkout: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """``marina serve`` on all of the store: two versions at once."""
    run = next((checkout / "runs" / "resnet").iterdir())
    archived = ["marina", "archive", str(run), "--version", "2.0", "--force"]
    subprocess.run(archived, cwd=checkout, env=environment, check=True, capture_output=True)
    process = subprocess.Popen(["marina", "serve"], cwd=checkout, env=environment)
    status = checkout / "logs" / "serve.json"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if status.exists():
            said = json.loads(status.read_text())
            if said["status"] == "ready" and said["pid"] == process.pid:
                break
        time.sleep(0.2)
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (0, 128 + signal.SIGTERM)


def test_serve_and_predict(
    serving: subprocess.Popen[bytes], checkout: Path, environment: dict[str, str]
) -> None:
    rest = f"http://127.0.0.1:{environment['MARINA_REST_PORT']}"
    grpc = f"127.0.0.1:{environment['MARINA_GRPC_PORT']}"
    token = read_key_file(checkout / "logs" / "key_file.json", "inference")
    for version in ("1.0", "2.0"):
        answer = requests.post(
            f"{rest}/predictions/resnet/{version}",
            data=(checkout / "digit.png").read_bytes(),
            headers={
                "Authorization": f"Bearer {token}",
                "X-Marina-Format": "detailed",
                "X-Marina-Top-K": "99",
            },
            timeout=30,
        )
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["version"] == version
        assert len(answer.json()["predictions"]) == 10
    bad = checkout / "bad.png"
    bad.write_bytes(b"no image")
    for where in (["--url", rest], ["--grpc", "--url", grpc]):
        command = ["marina", "predict", "digit.png", str(bad), "--json", "--top-k", "2", *where]
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 8, done.stderr
        good, failed = json.loads(done.stdout)
        assert good["error"] is None
        assert [len(good["predictions"]), good["predictions"][0]["label"]] == [2, "0"]
        assert failed["error"]["code"] == 400
        assert failed["predictions"] == []


def test_plain_torchserve_serves_the_archive_as_the_readme_says(
    first_demo: subprocess.CompletedProcess[str], checkout: Path, environment: dict[str, str]
) -> None:
    def sh(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line, shell=True, cwd=checkout, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    log = checkout / "torchserve.out"
    started = sh(
        "torchserve --start --ncs --model-store model_store --models resnet=resnet-1.0.mar "
        f"--ts-config config.properties > {log} 2>&1"
    )
    try:
        assert started.returncode == 0, log.read_text()
        deadline = time.monotonic() + 90
        answer = ""
        while time.monotonic() < deadline:
            answer = sh("curl -s -T digit.png http://127.0.0.1:8080/predictions/resnet").stdout
            if answer and "code" not in answer:
                break
            time.sleep(0.5)
        probabilities = json.loads(answer)
        assert next(iter(probabilities)) == "0", log.read_text()[-3000:]
        assert len(probabilities) == 3
        explained = sh("curl -s -T digit.png http://127.0.0.1:8080/explanations/resnet").stdout
        assert json.loads(explained)["label"] == "0"
        assert json.loads(explained)["probability"] == probabilities["0"]
    finally:
        sh("torchserve --stop")
