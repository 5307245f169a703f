"""A contestant's server: its start, the load that it is given, its end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from contestants import SERVERS, Contestant
from preparation import bodies

from marina.bench.generator import LoadGenerator
from marina.bench.load import Load

START_TIMEOUT_S = 180.0


class Failure(Exception):
    """A server that did not start, or answered wrongly."""


@contextlib.contextmanager
def served(contestant: Contestant) -> Iterator[tuple[str, int]]:
    """Run a server while a block runs, and end all its processes afterwards."""
    port = free_ports(6)
    with tempfile.TemporaryDirectory(prefix="peers-", dir="/tmp") as scratch:
        words = [fill(word, port, scratch) for word in contestant.command]
        log = Path(scratch) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                cwd=SERVERS,
                env={**os.environ, "TMPDIR": scratch, **contestant.variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield f"http://127.0.0.1:{port}", process.pid
        except Failure as err:
            said = log.read_text(errors="replace").strip().splitlines()
            raise Failure(f"{err}; it said: {' / '.join(said[-12:])[-900:]}") from err
        finally:
            end(process)


def fill(word: str, port: int, scratch: str) -> str:
    """Put the ports and the folder into a word of a command."""
    for number in range(6):
        word = word.replace(f"{{port+{number}}}", str(port + number))
    return word.replace("{port}", str(port)).replace("{scratch}", scratch)


def wait_until_ready(
    generator: LoadGenerator, contestant: Contestant, url: str, pid: int, size: str, work: Path
) -> None:
    """Wait for the first right answer."""
    deadline = time.monotonic() + START_TIMEOUT_S
    load = load_for(contestant, url, size, 1, 1.0, work)
    status, body = 0, ""
    while time.monotonic() < deadline:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            raise Failure("it ended as it started")
        status, body = generator.probe(load)
        if status == 200:
            return
        time.sleep(0.5)
    raise Failure(f"no right answer within {START_TIMEOUT_S:g} s; last: {status} {body[:200]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, then end all that it started; of one that died, its session is left."""
    family = [process.pid, *(c.pid for c in psutil.Process(process.pid).children(recursive=True))]
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_ports(count: int) -> int:
    """Give the first of so many neighbouring ports that nobody listens on."""
    while True:
        first = random.randrange(20000, 32000)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first


def load_for(
    contestant: Contestant,
    url: str,
    size: str,
    users: int,
    seconds: float,
    work: Path,
    warmup: float = 0.0,
) -> Load:
    """Give the load of one cell."""
    return Load(
        url,
        bodies(contestant, size, work),
        users=users,
        duration_s=seconds,
        warmup_s=warmup,
        path=contestant.wire.path,
        headers=contestant.wire.headers,
    )


def say(text: str) -> None:
    """Tell what is being done."""
    print(text, file=sys.stderr, flush=True)
