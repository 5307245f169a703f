from __future__ import annotations

import os
import subprocess
import sys
import time

from marina.bench.usage import Meter, server_roots

from .conftest import Stub

BUSY = """
import time
end = time.process_time() + 0.6
while time.process_time() < end:
    pass
input()
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}]); input()"


def test_the_whole_tree_is_counted_even_what_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE)
    with Meter(lambda: [process.pid]) as meter:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and meter.usage.cpu_s[-1] < 0.6:
            time.sleep(0.05)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        while time.monotonic() < deadline and meter.usage.processes[-1] > 1:
            time.sleep(0.05)
    process.communicate(b"\n")
    assert max(meter.usage.processes) == 2
    assert 0.6 <= meter.usage.cpu_s[-1] < 3
    assert meter.usage.cpu_s == sorted(meter.usage.cpu_s)


def test_the_server_is_found_by_its_port(stub: Stub) -> None:
    url = stub()
    (root,) = server_roots(url)
    assert root != os.getpid()
    assert server_roots(url.removeprefix("http://")) == [root]
    assert server_roots("http://example.com:80") == []
