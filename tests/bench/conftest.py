"""A small server to load, images to send, and results made up of numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marina.bench.generator import LoadGenerator
from marina.bench.result import Result
from marina.export.torchscript import export
from marina.recipe import read_recipe
from marina.train.run import Run
from marina.train.training import train

RECIPE = Path(__file__).parents[2] / "models" / "resnet18_imagenet.yaml"
STUB = Path(__file__).with_name("stub_server.py")

Stub = Callable[..., str]


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Start stub servers; gives the URL of each."""
    with ExitStack() as stack:

        def start(
            delay_ms: int = 5, stall_every: int = 0, stall_ms: int = 0, fail_every: int = 0
        ) -> str:
            words = map(str, (delay_ms, stall_every, stall_ms, fail_every))
            process = subprocess.Popen([sys.executable, STUB, *words], stdout=subprocess.PIPE)
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            return f"http://127.0.0.1:{int(process.stdout.readline())}"

        yield start


@pytest.fixture(scope="session")
def generator() -> Iterator[LoadGenerator]:
    with LoadGenerator() as generator:
        yield generator


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "images" / "0.jpg"
    file.parent.mkdir()
    file.write_bytes(b"an image")
    return file


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a network with random weights at 32 px, exported: nothing is trained."""
    folder = tmp_path_factory.mktemp("untrained")
    changes = {
        "name": "tiny",
        "data.root": folder / "photographs",
        "architecture.weights": "null",
        "image.resize": 32,
        "image.crop": 32,
        "serve.batch_size": 2,
    }
    overrides = tuple(f"{key}={value}" for key, value in changes.items())
    run = train(read_recipe(RECIPE, overrides), folder / "runs" / "tiny" / "one")
    export(run)
    return run


def made_up(latency_ms: Any, seconds: float = 20.0, cpu_ms: float = 4.0) -> Result:
    """Give a result of these latencies, evenly spread over a time."""
    latencies = np.asarray(latency_ms, dtype=float)
    start_s = 1000 + np.arange(len(latencies)) * seconds / len(latencies)
    return Result(
        {
            "format": 1,
            "window": [1000.0, 1000.0 + seconds],
            "load": {"users": 1, "rate": None, "arrivals": "uniform", "protocol": "rest"},
            "images": {"sha256": "0"},
            "environment": {"cpu": "a CPU", "usable_cores": 2},
            "samples": {
                "start_s": start_s.tolist(),
                "latency_ms": latencies.tolist(),
                "status": [200] * len(latencies),
            },
            "usage": {
                "time_s": [1000.0, 1000.0 + seconds],
                "cpu_s": [0.0, len(latencies) * cpu_ms / 1e3],
                "rss_bytes": [1, 1],
                "processes": [1, 1],
            },
            "client": {"cpu_s": 1.0, "seconds": seconds},
        }
    )
