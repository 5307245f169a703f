"""Time from process start to the first right answer, of one archive or of several in turn.

    python scripts/cold_start.py model_store/resnet-1.0.mar --image digit.png
    python scripts/cold_start.py model_store/resnet-1.0.mar stock.mar --image digit.png --rounds 5

Each round starts a plain TorchServe with one worker, whatever the archive says, and asks until it
answers 200. CPU seconds are those of Java and the worker together; where the machine does other
work, they are what to compare. A page that several processes share counts whole in resident
memory, and in parts in the share.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import yaml

from marina.serve.interruption import exit_on_sigterm
from marina.serve.java import java_home
from marina.serve.ports import free_ports

PORTS = ("rest", "management", "metrics", "grpc", "grpc_management")
TIMEOUT_S = 300
POLL_S = 0.05

CONFIG = """\
inference_address=http://127.0.0.1:{rest}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
grpc_inference_port={grpc}
grpc_management_port={grpc_management}
disable_token_authorization=true
default_workers_per_model=1
"""


class Start(NamedTuple):
    """What one start cost."""

    seconds: float
    cpu_s: float
    worker_rss_mb: float
    worker_pss_mb: float


def measure(archive: Path, image: bytes) -> Start:
    """Start TorchServe with one archive, ask until it answers, and stop it."""
    with tempfile.TemporaryDirectory(prefix="cold-") as folder:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        config = Path(folder) / "config.properties"
        config.write_text(CONFIG.format(**ports))
        store = Path(folder) / "store"
        alone = with_one_worker(archive, store)
        command = ["torchserve", "--start", "--foreground", "--ncs", "--ts-config", str(config)]
        command += ["--model-store", str(store), "--models", f"model={alone.name}"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {
            "TMPDIR": folder,
            "JAVA_HOME": str(java_home()),
            "PATH": path,
            "LOG_LOCATION": folder,
            "METRICS_LOCATION": folder,
        }
        began = time.perf_counter()
        log = Path(folder) / "out"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for_answer(ports["rest"], image, began, process, log)
            return cost(process, time.perf_counter() - began)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def with_one_worker(archive: Path, folder: Path) -> Path:
    """Copy an archive into a new folder, with one worker in its configuration if it has one."""
    folder.mkdir()
    copy = folder / archive.name
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "model-config.yaml":
                config = yaml.safe_load(content) | {"minWorkers": 1, "maxWorkers": 1}
                content = yaml.safe_dump(config).encode()
            target.writestr(name, content)
    return copy


def wait_for_answer(
    port: int, image: bytes, began: float, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Ask until the answer is 200."""
    while time.perf_counter() - began < TIMEOUT_S and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/octet-stream"}
            connection.request("POST", "/predictions/model", image, headers)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(POLL_S)
    said = log.read_text(errors="replace")[-2000:]
    raise SystemExit(f"no answer within {TIMEOUT_S} s, or TorchServe ended; it said last:\n{said}")


def cost(process: subprocess.Popen[bytes], seconds: float) -> Start:
    """Add up what Java and its worker took."""
    everyone = psutil.Process(process.pid).children(recursive=True)
    everyone.append(psutil.Process(process.pid))
    cpu_s = sum(sum(each.cpu_times()[:2]) for each in everyone)
    workers = [p for p in everyone if any("model_service_worker" in a for a in p.cmdline())]
    memory = [worker.memory_full_info() for worker in workers]
    rss_mb, pss_mb = (sum(getattr(m, name) for m in memory) / 1e6 for name in ("rss", "pss"))
    return Start(seconds, cpu_s, rss_mb, pss_mb)


def main() -> None:
    """Measure the archives in turn, and print the medians."""
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archives", nargs="+", type=Path)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    image = options.image.read_bytes()
    archives = [archive.resolve() for archive in options.archives]
    starts: dict[Path, list[Start]] = {archive: [] for archive in archives}
    for _ in range(options.rounds):
        for archive in archives:
            starts[archive].append(measure(archive, image))
    for archive, measured in starts.items():
        seconds, cpu_s, rss_mb, pss_mb = (median(values) for values in zip(*measured, strict=True))
        print(
            f"{archive.name}: {seconds:.1f} s, {cpu_s:.1f} CPU s, "
            f"worker {rss_mb:.0f} MB resident, {pss_mb:.0f} MB of its own share"
        )


if __name__ == "__main__":
    main()
