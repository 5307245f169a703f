"""The README's five minutes, run line by line as they are written."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPO, train_quickly, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

README = (REPO / "README.md").read_text()


def commands(heading: str) -> list[list[str]]:
    """Give the lines of each shell block below a heading, comments left out."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.S)
    lines = [[re.sub(r"\s+# .*|^# .*", "", line) for line in b.splitlines()] for b in blocks]
    return [[line for line in block if line] for block in lines]


AT_HOME, ELSEWHERE = commands("Five minutes")


def run(line: str, checkout: Path, environment: dict[str, str]) -> str:
    """Run a line in bash; the ports are free ones, since 8080 may be taken on this machine."""
    port = environment["MARINA_REST_PORT"]
    done = subprocess.run(
        ["bash", "-c", line.replace("127.0.0.1:8080", f"127.0.0.1:{port}")],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    # `doctor` exits with 1 where it finds something to mend, as it may on this machine.
    assert done.returncode == 0 or line == "marina doctor", f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def outputs(checkout: Path, environment: dict[str, str]) -> dict[str, str]:
    """What each line of the first block printed, but for `marina serve`."""
    train_quickly(checkout)
    lines = [line for line in AT_HOME if line != "marina serve"]
    return {line: run(line, checkout, environment) for line in lines}


@pytest.fixture(scope="module")
def serving(outputs: dict[str, str], checkout: Path, environment: dict[str, str]) -> Iterator[None]:
    assert AT_HOME[-1] == "marina serve"
    process = subprocess.Popen(["marina", "serve"], cwd=checkout, env=environment)
    status = checkout / "logs" / "serve.json"
    try:
        wait_for(lambda: status.exists() and '"status": "ready"' in status.read_text(), process)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_from_images_to_an_archive(outputs: dict[str, str], checkout: Path) -> None:
    assert "Java" in outputs["marina doctor"]
    folder = checkout / outputs["marina train models/resnet.yaml"].strip()
    assert (folder / "checkpoint.pt").exists()
    assert "accuracy" in outputs["marina evaluate runs/resnet"]
    assert (folder / "parity.json").exists()
    assert (checkout / "model_store" / "resnet-2.0.mar").exists()
    assert "provenance" in outputs["marina inspect model_store/resnet-2.0.mar"]


def test_what_is_served_answers(serving: None, checkout: Path, environment: dict[str, str]) -> None:
    stock, detailed, predicted = (run(line, checkout, environment) for line in ELSEWHERE)
    assert len(json.loads(stock)) == 3
    assert json.loads(detailed)["version"] == "2.0"
    outcomes = json.loads(predicted)
    assert len(outcomes) == len(list((checkout / "data/digits/test").glob("*/*.png")))
    assert all(outcome["error"] is None for outcome in outcomes)
