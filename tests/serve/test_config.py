"""The configuration, and what TorchServe itself makes of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import requests

from marina.errors import ServeError
from marina.serve import ServeConfig, render
from marina.serve.java import java_home

from .archives import make_archive
from .conftest import free_config, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
COMMAND = (
    "--start --ncs --model-store model_store --models resnet=resnet-1.0.mar "
    "--ts-config config.properties"
)


def test_the_file_in_the_root_is_the_rendering_of_the_defaults() -> None:
    assert (ROOT / "config.properties").read_text() == render(ServeConfig())


def test_gpus_are_left_alone_when_told() -> None:
    assert "number_of_gpu" not in render(ServeConfig())
    assert "\nnumber_of_gpu=0\n" in render(ServeConfig(gpu=False))


def test_a_port_is_given_once() -> None:
    with pytest.raises(ServeError, match="REST and metrics are both given port 8080"):
        ServeConfig(metrics_port=8080)


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(ServeError, match=f"gRPC port must be between 1 and 65535, not {port}"):
        ServeConfig(grpc_port=port)


def test_management_stays_on_the_loopback() -> None:
    config = ServeConfig(address="0.0.0.0")
    text = render(config)
    assert "inference_address=http://0.0.0.0:8080" in text
    assert "grpc_inference_address=0.0.0.0" in text
    assert "management_address=http://127.0.0.1:8081" in text
    assert "metrics_address=http://127.0.0.1:8082" in text
    assert config.rest_url == "http://127.0.0.1:8080"


def test_values_are_escaped_for_java() -> None:
    text = render(ServeConfig(), Path("a\\b/ö/😀"))
    assert text.endswith("metrics_config=a\\\\b/\\u00f6/\\ud83d\\ude00\n")


@pytest.fixture
def torchserve(tmp_path: Path) -> Iterator[tuple[Path, ServeConfig]]:
    """TorchServe without Marina, in a folder that looks as the repository's root does."""
    config = free_config(Path("model_store"))
    (tmp_path / "config.properties").write_text(render(config))
    (tmp_path / "handlers").mkdir()
    shutil.copy(ROOT / "handlers" / "metrics.yaml", tmp_path / "handlers")
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", name="resnet")
    (tmp_path / "tmp").mkdir()  # for torchserve's pid file, of which there is one a folder
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path / "tmp"),
        "TEMP": str(tmp_path / "tmp"),
        "JAVA_HOME": str(java_home()),
    }
    program = str(Path(sys.executable).with_name("torchserve"))
    with (tmp_path / "output").open("w") as output:
        subprocess.run(
            [program, *COMMAND.split()],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )
    java = psutil.Process(int((tmp_path / "tmp" / ".model_server.pid").read_text()))
    try:
        yield tmp_path, config
    finally:
        java.suspend()  # it would start others in the place of its workers
        for process in [*java.children(recursive=True), java]:
            process.kill()


@pytest.mark.slow
def test_torchserve_serves_with_it(torchserve: tuple[Path, ServeConfig]) -> None:
    folder, config = torchserve
    url = f"{config.rest_url}/predictions/resnet"

    def put() -> dict[str, float]:
        """Do what ``curl -T`` does."""
        try:
            answer = requests.put(url, data=b"digit", headers={"Content-Type": None}, timeout=40)  # type: ignore[dict-item]
        except requests.ConnectionError:
            return {}
        return dict(answer.json()) if answer.ok else {}

    wait_until(put, timeout_s=40)
    assert put() == pytest.approx({"class 1": 0.909, "class 0": 0.075}, abs=1e-3)
    assert "ts_inference_requests_total" in requests.get(config.metrics_url, timeout=5).text
    output = (folder / "output").read_text()
    for line in (
        rf"Metrics config path: {folder}/handlers/metrics\.yaml",
        r"Allowed Urls: \[\(\?!\)\]",
        r"Maximum Request Size: 33554432",
        r"Metrics mode: PROMETHEUS",
        r"Model API enabled: false",
    ):
        assert re.search(f"^{line}$", output, re.MULTILINE), line
