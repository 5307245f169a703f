"""What the image does, done in a fresh folder; and by Docker or Podman where one can build it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from e2e.conftest import port_variables
from pictures import encode, quadrants
from serve.conftest import processes_of, wait_until

from marina.client import Client
from marina.k8s.pods import USER

from .conftest import DOCKERFILE, REPO, UV, build_wheel, copy_sources, make_environment
from .dockerfile import Stage, read_dockerfile

STAGES = read_dockerfile(DOCKERFILE)
WRITABLE = ("logs", "tmp", "home/marina", "models")
IN_FLIGHT = 20


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_what_an_image_promises(target: str) -> None:
    """No root, no shell before the server, and all that is in it comes from a locked build."""
    stage = STAGES[target]
    assert stage.last("USER") == f"{USER}:{USER}"
    assert stage.last("STOPSIGNAL") == "SIGTERM"
    assert stage.command("ENTRYPOINT") == ["marina"]
    assert stage.command("HEALTHCHECK")[0] == "python"
    assert stage.copies == [(f"build-{target}", ["/opt/marina"], "/opt/marina")]
    assert "PYTHONPATH" not in stage.environment
    runs = " ".join(said for name, said in STAGES[f"build-{target}"].instructions if name == "RUN")
    assert "--locked" in runs
    froms = [said for each in STAGES.values() for name, said in each.instructions if name == "FROM"]
    assert {said.split()[0] for said in froms} <= {"${PYTHON_IMAGE}", *STAGES}


def test_compose_holds_what_the_image_promises() -> None:
    services = yaml.safe_load((REPO / "docker" / "compose.yaml").read_text())["services"]
    assert set(services) == {"marina", "prometheus", "grafana"}
    marina = services["marina"]
    assert marina["read_only"]
    assert marina["cap_drop"] == ["ALL"]
    command = [word for word in marina["command"] if word != "--no-tokens"]
    assert command == STAGES["cpu"].command("CMD")
    written = {each.partition(":")[0] for each in marina["tmpfs"]}
    written |= {each.split(":")[1] for each in marina["volumes"]}
    assert written == {f"/{name}" for name in WRITABLE}
    published = [port for service in services.values() for port in service["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in published)
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DOCKERFILE.parent / source).exists(), source


@dataclass
class Container:
    """A run of the image's entry point in a fresh folder."""

    root: Path
    stage: Stage
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def health(self) -> int:
        """What the health check exits with."""
        command = located(self.stage.command("HEALTHCHECK"), self.root)
        return subprocess.run(
            command, env=self.environment, capture_output=True, check=False
        ).returncode


def located(words: list[str], root: Path) -> list[str]:
    """Put a command's folders below ``root``, and its program where the image's PATH finds it."""
    program = root / "opt/marina/bin" / words[0]
    return [str(program), *(word.replace("=/", f"={root}/") for word in words[1:])]


def as_the_image_would(command: list[str]) -> list[str]:
    """Take away what lets root write what it may not, as ``cap_drop: [ALL]`` does."""
    if os.getuid():
        return command
    nothing = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    return ["setpriv", *nothing, *command]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[Path]:
    """What lies in the image: what the Dockerfile copies, built, installed, and made read-only."""
    root = tmp_path_factory.mktemp("root")
    sources = root.with_name("context")
    for source, names, _ in STAGES["build-cpu"].copies:
        assert source is None
        copy_sources(names, sources)
    wheel = build_wheel(sources, sources / "dist")
    python = make_environment(root / "opt" / "marina")
    install = [UV, "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps"]
    subprocess.run([*install, "--python", python, wheel], check=True)
    for name in WRITABLE:
        (root / name).mkdir(parents=True)
    shutil.copytree(store, root / "models", dirs_exist_ok=True)
    folders = [path for path in (root, root / "home", *(root / "opt").rglob("*")) if path.is_dir()]
    for folder in [*folders, root / "opt"]:
        folder.chmod(0o555)
    root.with_name("files").write_text("\n".join(map(str, root.rglob("*"))))
    yield root
    for folder in [*folders, root / "opt"]:
        folder.chmod(0o755)


@pytest.fixture(scope="module")
def container(root: Path) -> Iterator[Container]:
    stage = STAGES["cpu"]
    environment = {
        name: ":".join(f"{root}{part}" for part in value.split(":")) if "/" in value else value
        for name, value in stage.environment.items()
    }
    environment["PATH"] += ":/usr/bin:/bin"  # of the base image
    environment |= port_variables()
    words = [*stage.command("ENTRYPOINT"), *stage.command("CMD")]
    command = [word.replace("0.0.0.0", "127.0.0.1") for word in located(words, root)]
    output = root.with_name("output")
    with output.open("wb") as file:
        process = subprocess.Popen(
            as_the_image_would(command),
            cwd=root / "home/marina",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    yield Container(root, stage, environment, process, output)
    process.kill()
    process.wait()


@pytest.mark.slow
def test_the_entry_point_serves_and_drains(container: Container) -> None:
    """Unhealthy, healthy, an answer, 20 in flight, SIGTERM: each is answered, and all is gone."""
    assert container.health != 0
    process, environment = container.process, container.environment

    def is_healthy() -> bool:
        assert process.poll() is None, container.output.read_text()
        return container.health == 0

    wait_until(is_healthy, timeout_s=120)
    url = f"http://127.0.0.1:{environment['MARINA_REST_PORT']}"
    token = container.root / "logs" / "key_file.json"
    metrics = f"http://127.0.0.1:{environment['MARINA_GATEWAY_METRICS_PORT']}/metrics"

    def in_flight() -> bool:
        said = httpx.get(metrics, trust_env=False).text
        active = 'envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix="rest"} '
        return f"{active}{IN_FLIGHT}\n" in said

    with closing(Client(url, token=token)) as client, ThreadPoolExecutor(IN_FLIGHT) as pool:
        image = encode(quadrants(), "PNG")
        assert client.predict(image, model="resnet")[0].probability > 0
        # The first hold the workers until all have come.
        bodies = [b"sleep 5"] * 2 + [b"sleep 0.2"] * (IN_FLIGHT - 2)
        asked = [pool.submit(client.predict, body, "stub") for body in bodies]
        wait_until(in_flight)
        process.terminate()
        labels = [answer.result(timeout=60)[0].label for answer in asked]
    assert labels == ["class 1"] * IN_FLIGHT
    assert process.wait(timeout=60) == 0, container.output.read_text()
    assert container.health != 0
    assert processes_of(process.pid) == []
    assert list((container.root / "tmp").glob("marina-serve-*")) == []
    said = container.output.read_text()
    assert "draining: waiting for requests in flight" in said
    assert "given up" not in said
    assert written_outside(container.root) == set()


def written_outside(root: Path) -> set[str]:
    """List what lies in the image's folders that was not there when it was made."""
    touch = subprocess.run(as_the_image_would(["touch", str(root / "opt/marina/new")]), check=False)
    assert touch.returncode != 0  # it could not have been written
    made = {Path(line) for line in root.with_name("files").read_text().splitlines()}
    return {str(path) for path in set(root.rglob("*")) - made if not is_writable(path, root)}


def is_writable(path: Path, root: Path) -> bool:
    return any(path.is_relative_to(root / name) for name in WRITABLE)
