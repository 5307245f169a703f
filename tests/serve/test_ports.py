"""Ports and their holders."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from marina.errors import ServeError
from marina.serve import ServeConfig
from marina.serve.ports import VARIABLE, check_ports, free_ports, holder, is_free, searched


def test_free_ports_pass(config: ServeConfig) -> None:
    check_ports(config)


def test_the_holder_is_named(config: ServeConfig) -> None:
    program = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
    command = [sys.executable, "-c", program + "print(flush=True); input()"]
    with subprocess.Popen(
        [*command, str(config.grpc_port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        expected = rf"port {config.grpc_port}, for gRPC, is taken by process {process.pid} \(.*-c"
        with pytest.raises(ServeError, match=expected):
            check_ports(config)
        process.kill()


def test_this_process_may_be_the_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"process {os.getpid()} (" in holder(port)
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"cannot listen on 192\.0\.2\.1:8080 for REST"):
        check_ports(ServeConfig(address="192.0.2.1"))  # RFC 5737: nobody has it


def test_free_ports_are_new_ones_of_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marina.serve.ports.chosen_from", range(19_990, 20_000))
    ports = [*free_ports(3), *free_ports(3)]
    assert len(set(ports) & set(range(19_990, 20_000))) == 6
    with pytest.raises(ServeError, match="fewer than 9 ports are free"):
        free_ports(9)


def test_the_range_lies_below_outgoing_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert searched()[-1] < lowest
    monkeypatch.setenv(VARIABLE, "8000")
    with pytest.raises(ServeError, match="a range of ports such as 20000-32767, not '8000'"):
        searched()
