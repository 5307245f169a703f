"""What a server's processes use: CPU time and memory of the whole tree, read from /proc.

Throughput on a machine that others share says little; the CPU time of a request hardly depends
on what else runs. So both stand in every result.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import psutil

from marina.client.address import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

_INTERVAL_S = 0.25


@dataclass
class Usage:
    """Readings of a process tree, some a second.

    Attributes:
        time_s: When, in seconds since the epoch.
        cpu_s: CPU time that all processes have used until then, user and system.
        rss_bytes: Resident memory of all processes then; shared pages count in each.
        processes: Number of processes then.
    """

    time_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)


class Meter:
    """Reads the CPU time and memory of process trees while a block runs.

    Args:
        roots: Gives the pids at the trees' roots; asked again and again, since workers come and go.
    """

    def __init__(self, roots: Callable[[], Sequence[int]]):
        self.usage = Usage()
        self._roots = roots
        self._cpu_s: dict[psutil.Process, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.read()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self.read()

    def read(self) -> None:
        """Take one reading. What a process used that has ended since the last one is kept."""
        rss = count = 0
        for process in _tree(self._roots()):
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                self._cpu_s[process] = times.user + times.system
                rss += process.memory_info().rss
                count += 1
        self.usage.time_s.append(time.time())
        self.usage.cpu_s.append(sum(self._cpu_s.values()))
        self.usage.rss_bytes.append(rss)
        self.usage.processes.append(count)

    def _watch(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            self.read()


def server_roots(url: str) -> list[int]:
    """Find the processes that listen at an address of this machine.

    Under `marina serve` the gateway listens and TorchServe is its sibling: the whole of that
    command is the server.

    Args:
        url: A URL, or ``host:port``.

    Returns:
        Pids; none if the server is elsewhere, or another user's.
    """
    address = urlsplit(url if "://" in url else f"//{url}")
    if not is_loopback(address.hostname):
        return []
    port = address.port or 80
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS tells only root
        return []
    listeners = {
        each.pid
        for each in connections
        if each.pid and each.status == psutil.CONN_LISTEN and getattr(each.laddr, "port", 0) == port
    }
    return sorted({_whole(pid) for pid in listeners})


def _whole(pid: int) -> int:
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid).parent()
        words = parent.cmdline() if parent else []
        if parent and "serve" in words and any(word.endswith("marina") for word in words):
            return parent.pid
    return pid


def _tree(roots: Sequence[int]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for pid in roots:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            found |= {root, *root.children(recursive=True)}
    return found
