"""The client against a built image, as `make image` runs it where there is Docker or Podman."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pictures import encode, quadrants
from serve.conftest import wait_until

from marina.client import Client
from marina.serve.ports import free_ports

IMAGE = os.environ.get("MARINA_IMAGE")
DOCKER = os.environ.get("DOCKER", "docker")

pytestmark = pytest.mark.skipif(IMAGE is None, reason="needs an image: make image")


def docker(*words: str) -> str:
    done = subprocess.run([DOCKER, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_it_serves_and_drains(store: Path) -> None:
    port = free_ports(1)[0]
    store.chmod(0o777)
    writable = [word for name in ("tmp", "logs", "home/marina")
                for word in ("--tmpfs", f"/{name}:mode=1777")]  # fmt: skip
    limits = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--init"]
    name = docker(
        *("run", "--detach", *limits, *writable, "--volume", f"{store}:/models"),
        *("--publish", f"127.0.0.1:{port}:8080", str(IMAGE)),
        *("serve", "--address=0.0.0.0", "--no-tokens", "--model-store=/models", "--log-dir=/logs"),
    )
    try:
        state = "{{.State.Health.Status}}"
        wait_until(lambda: docker("inspect", "--format", state, name) == "healthy", 300)
        with Client(f"http://127.0.0.1:{port}") as client:
            answer = client.predict(encode(quadrants(), "PNG"), model="resnet")
        assert answer[0].probability > 0
        docker("stop", "--time", "60", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
        assert (
            "stopped"
            in subprocess.run(
                [DOCKER, "logs", name], check=True, capture_output=True, text=True
            ).stderr
        )
    finally:
        docker("rm", "--force", name)
