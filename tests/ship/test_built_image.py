"""The client against a built image, run by Docker or Podman, as `make image` asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pictures import encode, quadrants
from serve.conftest import wait_until

from marina.client import Client
from marina.serve.ports import free_ports

IMAGE = os.environ.get("MARINA_IMAGE")
ENGINE = os.environ.get("ENGINE", "docker")

pytestmark = [
    pytest.mark.skipif(IMAGE is None, reason="needs an image: make image"),
    pytest.mark.skipif(shutil.which(ENGINE) is None, reason=f"{ENGINE} is not here to run it"),
]


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([ENGINE, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0 or not check, done.stderr
    return done


def is_healthy(name: str) -> bool:
    """Docker asks by itself; Podman leaves that to systemd, which need not be here."""
    assert run("inspect", "--format", "{{.State.Running}}", name).stdout.strip() == "true", run(
        "logs", name
    ).stderr
    if Path(ENGINE).name == "podman":
        return run("healthcheck", "run", name, check=False).returncode == 0
    state = run("inspect", "--format", "{{.State.Health.Status}}", name)
    return state.stdout.strip() == "healthy"


def test_it_serves_and_drains(store: Path) -> None:
    """Nobody's root, on a root that cannot be written; answered over REST; ended by SIGTERM."""
    port = free_ports(1)[0]
    store.chmod(0o777)
    writable = [word for name in ("tmp", "logs", "home/marina")
                for word in ("--tmpfs", f"/{name}:mode=1777")]  # fmt: skip
    limits = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--init"]
    name = run(
        *("run", "--detach", *limits, *writable, "--volume", f"{store}:/models"),
        *("--publish", f"127.0.0.1:{port}:8080", str(IMAGE)),
        *("serve", "--address=0.0.0.0", "--no-tokens", "--model-store=/models", "--log-dir=/logs"),
    ).stdout.strip()
    try:
        wait_until(lambda: is_healthy(name), 300)
        assert run("exec", name, "id", "-u").stdout.strip() == "10001"
        assert run("exec", name, "touch", "/opt/marina/new", check=False).returncode != 0
        with Client(f"http://127.0.0.1:{port}") as client:
            answer = client.predict(encode(quadrants(), "PNG"), model="resnet")
        assert answer[0].probability > 0
        run("stop", "--time", "60", name)
        assert run("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip() == "0"
        assert "stopped" in run("logs", name).stderr
    finally:
        run("rm", "--force", name)
