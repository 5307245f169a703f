"""Ports: whether they are free, and who holds them if not."""

from __future__ import annotations

import errno
import os
import random
import socket
from itertools import islice
from typing import TYPE_CHECKING, Any

import psutil

from marina.errors import ServeError

if TYPE_CHECKING:
    from marina.serve.config import ServeConfig

# Where free ports are looked for: above those that are often a known service's, below Linux's
# outgoing ones and IANA's dynamic ones.
VARIABLE = "MARINA_FREE_PORTS"
_DEFAULT = "20000-32767"
# In place of that, for this process alone and not for those that it starts.
chosen_from: range | None = None
_given: set[int] = set()


def check_ports(config: ServeConfig) -> None:
    """Check that TorchServe will be able to listen.

    Raises:
        ServeError: A port is taken, or an address is not this machine's; the message names the
            process that holds the port, if this user may know.
    """
    for name, (address, port) in config.listeners.items():
        problem = _try_to_listen(address, port)
        if problem is None:
            continue
        if problem == errno.EADDRINUSE:
            raise ServeError(
                f"port {port}, for {name}, is taken by {holder(port)}: stop it, or choose "
                "another port"
            )
        if problem == errno.EACCES:
            raise ServeError(f"port {port}, for {name}, needs root: choose one above 1023")
        raise ServeError(f"cannot listen on {address}:{port} for {name}: {os.strerror(problem)}")


def is_free(address: str, port: int) -> bool:
    """Tell whether a server could listen there now."""
    return _try_to_listen(address, port) is None


def free_ports(count: int) -> list[int]:
    """Give ports of the loopback interface that nobody listens on now, and none of them twice.

    They lie below those that the kernel gives to outgoing connections (ip(7),
    ``ip_local_port_range``), one of which might have taken a port before a server listens on it.
    ``MARINA_FREE_PORTS=20000-32767`` says where to look.
    """
    where = chosen_from or searched()
    candidates = random.SystemRandom().sample(where, len(where))
    unused = (port for port in candidates if port not in _given and is_free("127.0.0.1", port))
    ports = list(islice(unused, count))
    if len(ports) < count:
        raise ServeError(f"fewer than {count} ports are free in {VARIABLE}={where[0]}-{where[-1]}")
    _given.update(ports)
    return ports


def searched() -> range:
    """Give the ports that Marina chooses from.

    Raises:
        ServeError: ``MARINA_FREE_PORTS`` names none.
    """
    text = os.environ.get(VARIABLE, _DEFAULT)
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise ServeError(f"{VARIABLE} is a range of ports such as {_DEFAULT}, not {text!r}")
    return range(int(first), int(last) + 1)


def holder(port: int) -> str:
    """Name the process that listens on a TCP port."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS tells only root
        return "another process"
    pid = next((c.pid for c in connections if c.pid and _listens(c, port)), None)
    if pid is None:
        return "a process of another user"
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return f"process {pid}"
    return f"process {pid} ({command if len(command) <= 80 else command[:80] + '…'})"


def _listens(connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr.port == port)


def _try_to_listen(address: str, port: int) -> int | None:
    """Give the error number of an attempt to listen, None if it succeeds."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        # As Java does: connections of an earlier server may still be in TIME_WAIT.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((address, port))
            server.listen(1)
        except socket.gaierror:
            return errno.EADDRNOTAVAIL
        except OSError as err:
            return err.errno
    return None
