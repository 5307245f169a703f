"""Where the CPU time of a Marina server goes: milliseconds per answer, by process and thread.

    .venv/bin/python scripts/peers/anatomy.py --precision fp32 --users 8 --warmup 60 --seconds 30
    .venv/bin/python scripts/peers/anatomy.py --variant small:JAVA_TOOL_OPTIONS=-Xmx64m

Servers run at the same time and are asked in turn, ``--rounds`` times, so that what drifts on the
machine drifts for all; what the ones that are not asked use meanwhile shows what idling costs. A
variant is the same server with other environment variables. The handler alone, in a process of its
own for each core, stands beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
from contestants import DECODE, PRECISIONS, REPO, Contestant, archive_name, contestants
from preparation import archive_all, bodies, unpack
from serving import load_for, say, served, wait_until_ready

from handlers.cores import usable_cores
from marina.bench.ceiling import try_way
from marina.bench.generator import LoadGenerator
from marina.serve.interruption import exit_on_sigterm

TICKS = 100.0  # of /proc/*/stat, a second: USER_HZ of Linux
COMPILER = ("C1 CompilerThre", "C2 CompilerThre")

Times = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Running:
    """A server that runs.

    Attributes:
        name: Of the variant.
        contestant: What runs.
        url: Where it answers.
        pid: Root of its processes.
    """

    name: str
    contestant: Contestant
    url: str
    pid: int


def main() -> None:
    """Start, warm, measure in turn, print."""
    exit_on_sigterm()
    options = _options()
    archive_all(options.work)
    alone: list[float] = []
    own = next(
        c
        for c in contestants(options.work)
        if c.name == "Marina" and c.pipeline == options.precision
    )
    variants = {"as it is": own, **dict(_variant(text, own) for text in options.variant)}
    busy: dict[str, list[Times]] = defaultdict(list)
    idle: dict[str, list[Times]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        generator = stack.enter_context(LoadGenerator())
        servers = []
        for name, contestant in variants.items():
            say(f"{name}: starts")
            url, pid = stack.enter_context(served(contestant))
            wait_until_ready(generator, contestant, url, pid, options.size, options.work)
            servers.append(Running(name, contestant, url, pid))
        for server in servers:
            say(f"{server.name}: warms")
            _drive(generator, server, options.warmup, options)
        for number in range(options.rounds):
            alone.append(_alone(own, options))
            for server in servers:
                say(f"round {number + 1}: {server.name}")
                before = read_times(server.pid)
                answers = _drive(generator, server, options.seconds, options)
                busy[server.name].append(_per(before, read_times(server.pid), answers))
            before = {server.name: read_times(server.pid) for server in servers}
            time.sleep(options.seconds / 2)
            for server in servers:
                spent = _per(before[server.name], read_times(server.pid), options.seconds / 2)
                idle[server.name].append(spent)
    print(f"the handler alone: {median(alone):.2f} CPU ms per answer, rounds {alone}")
    for name in variants:
        print(f"\n{name}: CPU ms per answer; idle, ms per second")
        print_table(busy[name], idle[name])


def read_times(pid: int) -> Times:
    """Give the CPU milliseconds that each thread of a process tree has used, by process and name.

    A process's threads that have ended are its rest.
    """
    root = psutil.Process(pid)
    times: Times = Counter()
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.Error, OSError):
            name = _process_name(process)
            whole = _ticks(Path(f"/proc/{process.pid}/stat"))
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    spent = _ticks(task / "stat")
                    thread = "main" if int(task.name) == process.pid else _thread_name(task)
                    times[name, thread] += spent
                    whole -= spent
            times[name, "threads that ended"] += max(0, whole)
    return times


def print_table(busy: list[Times], idle: list[Times]) -> None:
    """Print the medians over rounds of what is worth a line."""
    total = median(sum(round_.values()) for round_ in busy)
    print(f"{'all':44} {total:8.2f} {median(sum(r.values()) for r in idle):8.2f}")
    processes = {process for round_ in busy for process, _ in round_}
    for process in sorted(processes):
        print(f"{process:44} {_whole(busy, process):8.2f} {_whole(idle, process):8.2f}")
        threads = {thread for round_ in busy for owner, thread in round_ if owner == process}
        rows = [(_one(busy, (process, t)), _one(idle, (process, t)), t) for t in threads]
        for spent, idling, thread in sorted(rows, reverse=True):
            if spent >= 0.02 or idling >= 0.2:
                print(f"    {thread:40} {spent:8.2f} {idling:8.2f}")


def _whole(rounds: list[Times], process: str) -> float:
    return median(sum(v for (owner, _), v in r.items() if owner == process) for r in rounds)


def _one(rounds: list[Times], key: tuple[str, str]) -> float:
    return median(round_[key] for round_ in rounds)


def _per(before: Times, after: Times, count: float) -> Times:
    return Counter({key: (after[key] - before[key]) / count for key in after})


def _drive(
    generator: LoadGenerator, server: Running, seconds: float, options: argparse.Namespace
) -> int:
    load = load_for(
        server.contestant, server.url, options.size, options.users, seconds, options.work
    )
    return generator.drive(load).status.count(200)


def _alone(own: Contestant, options: argparse.Namespace) -> float:
    """Give the CPU milliseconds of an answer in-process, in batches of ``--batch``."""
    folder = unpack(archive_name(options.precision, DECODE), options.work)
    images = options.work / f"images-{options.size}.json"
    files = bodies(own, options.size, options.work)
    images.write_text(json.dumps([str(file.resolve()) for file in files]))
    way = try_way(folder, images, usable_cores(), options.batch, options.seconds)
    return round(way.cpu_ms, 2)


def _process_name(process: psutil.Process) -> str:
    words = process.cmdline()
    if any("model_service_worker" in word for word in words):
        return "worker"
    return {"java": "TorchServe (Java)", "envoy": "Envoy"}.get(process.name(), process.name())


def _thread_name(task: Path) -> str:
    return (task / "comm").read_text().strip()


def _ticks(stat: Path) -> float:
    """Read user and system time, fields 14 and 15 of proc_pid_stat(5), in milliseconds."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS * 1e3


def _variant(text: str, own: Contestant) -> tuple[str, Contestant]:
    name, _, settings = text.partition(":")
    pairs = (pair.partition("=") for pair in settings.split(";") if pair)
    variables = {key: value for key, _, value in pairs}
    return name, replace(own, variables={**own.variables, **variables})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--size", default="photo-640", help="of the photographs")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4, help="of the handler alone")
    parser.add_argument("--warmup", type=float, default=30.0, help="seconds of load first")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", action="append", default=[], metavar="NAME:VARIABLE=VALUE[;…]")
    parser.add_argument("--work", type=Path, default=REPO / "bench" / "peers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
