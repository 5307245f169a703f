"""Serve for a long time at 80% of capacity while versions are switched; see that nothing wears out.

    python scripts/soak.py --minutes 60          # or: make soak MINUTES=60

A digits classifier is trained for an epoch and archived as 1.0 and 2.0; `marina serve` serves it
with its gateway. Capacity is what eight clients get in a closed loop. Then requests come at 80% of
it, each at its own time whether the ones before are answered or not, and the version is switched
again and again. It fails (exit code 1) on an error, on 100 MB more memory, or on descriptors that
grow. Memory and descriptors are those of the whole process tree between switches. Figures go to
soak.json, the plot to soak.png.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import matplotlib as mpl
import psutil

from marina.archive.archive import archive
from marina.archive.store import ModelStore
from marina.client import ManagementClient
from marina.export.torchscript import export
from marina.recipe import read_recipe
from marina.serve.interruption import exit_on_sigterm
from marina.serve.ports import free_ports
from marina.train.training import train

mpl.use("Agg")
from matplotlib import pyplot as plt

REPO = Path(__file__).parents[1]
PORTS = ("REST", "GRPC", "MANAGEMENT", "GRPC_MANAGEMENT", "METRICS", "GATEWAY_METRICS")
SHARE = 0.8
CALIBRATION_S = 15.0
CLIENTS = 8
MOST_CLIENTS = 32
READING_S = 1.0
MOST_GROWTH_BYTES = 100e6
MOST_NEW_DESCRIPTORS = 16
READY_TIMEOUT_S = 300


@dataclass
class Soak:
    """What was seen; times are seconds since the load began."""

    minutes: float
    capacity_per_s: float = 0.0
    answers: dict[int, int] = field(default_factory=dict)
    latency_s: list[tuple[float, float]] = field(default_factory=list)
    readings: list[tuple[float, int, int, int]] = field(default_factory=list)
    switches: list[tuple[float, float]] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Requests that were not answered with 200; 0 stands for no answer at all."""
        return sum(count for status, count in self.answers.items() if status != 200)

    def growth(self, column: int) -> float:
        """Give the median of the last fifth less that of the first, between switches.

        The first fifth begins after the first switch: until then memory is still being filled.
        """
        calm = statistics.mode(reading[3] for reading in self.readings)
        begin = self.switches[0][1] if self.switches else 0.0
        quiet = [r[column] for r in self.readings if r[3] == calm and r[0] >= begin]
        fifth = max(1, len(quiet) // 5)
        return statistics.median(quiet[-fifth:]) - statistics.median(quiet[:fifth])

    @property
    def verdict(self) -> dict[str, bool]:
        """Give each promise, and whether it held."""
        return {
            "0 errors": self.errors == 0,
            "memory grows by less than 100 MB": self.growth(1) < MOST_GROWTH_BYTES,
            "descriptors are flat": self.growth(2) <= MOST_NEW_DESCRIPTORS,
        }


def main() -> int:
    """Soak, and say how it went."""
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--switch-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--output", type=Path, default=Path("soak"))
    arguments = parser.parse_args()
    soak = Soak(arguments.minutes)
    with tempfile.TemporaryDirectory(prefix="marina-soak-") as folder:
        image = prepare(Path(folder))
        with serving(Path(folder)) as (process, ports):
            soak.capacity_per_s = capacity(ports["REST"], image)
            say(f"capacity {soak.capacity_per_s:.1f} requests/s; the load is {SHARE:.0%} of that")
            run(soak, process, ports, image, arguments.switch_every)
    arguments.output.mkdir(parents=True, exist_ok=True)
    figures = {**asdict(soak), "verdict": soak.verdict}
    (arguments.output / "soak.json").write_text(json.dumps(figures))
    plot(soak, arguments.output / "soak.png")
    say(
        f"{sum(soak.answers.values())} requests, {soak.errors} errors {soak.answers}; "
        f"{len(soak.switches)} switches; memory {soak.growth(1) / 1e6:+.1f} MB; "
        f"descriptors {soak.growth(2):+.0f}; see {arguments.output / 'soak.png'}"
    )
    for promise, held in soak.verdict.items():
        say(f"{'held  ' if held else 'BROKEN'} {promise}")
    return int(not all(soak.verdict.values()))


def prepare(folder: Path) -> bytes:
    """Make a store with two versions; give an image."""
    changes = ("train.epochs=1", "train.lr=0.02", f"data.root={folder / 'digits'}")
    trained = train(read_recipe(REPO / "models" / "resnet.yaml", changes), folder / "run")
    export(trained)
    for version in ("1.0", "2.0"):
        archive(trained, version, ModelStore(folder / "store"))
    return (REPO / "digit.png").read_bytes()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[psutil.Process, dict[str, int]]]:
    """Run `marina serve` on 1.0; give its process and its ports."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    environment = {**os.environ, **{f"MARINA_{name}_PORT": str(p) for name, p in ports.items()}}
    marina = str(Path(sys.executable).with_name("marina"))
    status = folder / "logs" / "serve.json"
    with subprocess.Popen(
        [marina, "serve", "--no-tokens", "--model-store", "store"], cwd=folder, env=environment
    ) as process:
        try:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not (status.exists() and json.loads(status.read_text())["status"] == "ready"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("marina serve did not become ready")
                time.sleep(0.2)
            with manager(ports) as management:
                management.set_default("resnet", "1.0")
                management.unregister("resnet", "2.0")
            yield psutil.Process(process.pid), ports
        finally:
            process.send_signal(signal.SIGTERM)


def manager(ports: dict[str, int]) -> ManagementClient:
    """Open a client of the management side."""
    return ManagementClient(f"http://127.0.0.1:{ports['MANAGEMENT']}")


def capacity(port: int, image: bytes) -> float:
    """Give the requests that are answered in a second, asked in a closed loop."""
    ask_all(port, image, CLIENTS, itertools.repeat(0.0), seconds=CALIBRATION_S / 3)  # warm up
    answers = ask_all(port, image, CLIENTS, itertools.repeat(0.0), seconds=CALIBRATION_S)
    return sum(status == 200 for status, *_ in answers) / CALIBRATION_S


def ask_all(
    port: int, image: bytes, clients: int, due_s: Iterator[float], seconds: float
) -> list[tuple[int, float, float]]:
    """Send requests when they are due; give status, time and latency from when it was due."""
    started, lock = time.monotonic(), threading.Lock()
    answers: list[tuple[int, float, float]] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                due = next(due_s)
            now = time.monotonic() - started
            if max(due, now) > seconds:
                break
            time.sleep(max(0.0, due - now))
            begun = due or now
            status = ask(connection, image)
            done = time.monotonic() - started
            answers.append((status, done, done - begun))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def ask(connection: http.client.HTTPConnection, image: bytes) -> int:
    """Give the status of an answer; 0 if there is none."""
    try:
        connection.request(
            "POST", "/predictions/resnet", image, {"Content-Type": "application/octet-stream"}
        )
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0
    return answer.status


def run(
    soak: Soak, process: psutil.Process, ports: dict[str, int], image: bytes, switch_s: float
) -> None:
    """Load the server for so many minutes, switch versions, and take readings."""
    seconds, started, stop = soak.minutes * 60, time.monotonic(), threading.Event()

    def passed() -> float:
        return time.monotonic() - started

    def read() -> None:
        while not stop.wait(READING_S):
            soak.readings.append((passed(), *reading(process)))

    def switch() -> None:
        with manager(ports) as management:
            for version in itertools.cycle(("2.0", "1.0")):
                if stop.wait(switch_s) or passed() > seconds - switch_s / 2:
                    break
                begun = passed()
                management.switch("resnet", version)
                soak.switches.append((begun, passed()))

    others = [threading.Thread(target=guarded(work)) for work in (read, switch)]
    for thread in others:
        thread.start()
    due = (number / (soak.capacity_per_s * SHARE) for number in itertools.count(1))
    try:
        for status, at, latency in ask_all(ports["REST"], image, MOST_CLIENTS, due, seconds):
            soak.answers[status] = soak.answers.get(status, 0) + 1
            soak.latency_s.append((round(at, 2), round(latency, 4)))
    finally:
        stop.set()
        for thread in others:
            thread.join()


def guarded(work: Callable[[], None]) -> Callable[[], None]:
    """Let an error of a thread end the program: a soak that no longer switches is none."""

    def inner() -> None:
        try:
            work()
        except Exception as err:
            say(f"error: {err!r}")
            os.kill(os.getpid(), signal.SIGINT)

    return inner


def reading(root: psutil.Process) -> tuple[int, int, int]:
    """Give resident bytes, open descriptors and number of the processes of a tree."""
    rss = descriptors = count = 0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            rss += process.memory_info().rss
            descriptors += process.num_fds()
            count += 1
    return rss, descriptors, count


def plot(soak: Soak, file: Path) -> None:
    """Draw latency, memory and descriptors over the time, with the switches."""
    figure, (latency, memory, descriptors) = plt.subplots(3, 1, figsize=(10, 8), sharex=True)
    latency.plot([at / 60 for at, _ in soak.latency_s], [s * 1e3 for _, s in soak.latency_s], ",")
    latency.set_ylabel("latency, ms")
    latency.set_yscale("log")
    minutes = [reading[0] / 60 for reading in soak.readings]
    memory.plot(minutes, [reading[1] / 1e6 for reading in soak.readings])
    memory.set_ylabel("memory, MB")
    descriptors.plot(minutes, [reading[2] for reading in soak.readings])
    descriptors.set_ylabel("descriptors")
    descriptors.set_xlabel("minutes")
    for axes in (latency, memory, descriptors):
        for begun, ended in soak.switches:
            axes.axvspan(begun / 60, ended / 60, color="0.85")
        axes.grid(alpha=0.3)
    latency.set_title(f"{soak.capacity_per_s * SHARE:.0f} requests/s, {soak.errors} errors")
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
