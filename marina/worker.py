"""What TorchServe starts in the place of Python: a worker that leaves the cores to those who serve.

    marina-worker …/ts/model_service_worker.py --sock-type unix …

Importing torch is most of what a small model's worker does before it serves. That and whatever else
TorchServe's own program imports is done here in a thread of low priority, and the program finds it
done. Any other program runs as it is. Marina is not imported any further: what a worker imports
before its archive's own modules, would hide them.

A worker learns that TorchServe died when it next reads from it: amid a batch it would compute on,
for as long as its model hangs. So it ends with TorchServe, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import runpy
import select
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path

NICE = 10  # as in `handlers.background`, which says why


def main() -> None:
    """Run a Python program; TorchServe's worker with torch imported."""
    sys.argv = sys.argv[1:]
    program = Path(sys.argv[0])
    if program.name != "model_service_worker.py":
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - that is what it is for
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    atexit.register(_leave)
    logging.getLogger().addFilter(_tells)
    sys.path[0] = str(program.parent)  # as Python does with the program that it is given
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        import_module("numpy")  # starts threads, which serve
    thread = threading.Thread(target=_import)
    thread.start()
    thread.join()
    runpy.run_path(str(program), run_name="__main__")


def _end_with(torchserve: int) -> None:
    """End when that process has, on a Linux that tells of it (pidfd_open(2))."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        poll = select.poll()
        poll.register(os.pidfd_open(torchserve), select.POLLIN)
        poll.poll()
        os.kill(os.getpid(), signal.SIGKILL)  # nobody is there to be answered, or to be told


def _tells(record: logging.LogRecord) -> bool:
    """Leave out what says of each batch that it came: a fifth of a millisecond before each."""
    return not str(record.msg).startswith("Backend received inference at")


def _leave() -> None:
    """Spare the end of the process half a second in which Python would collect torch."""
    if "triton" not in sys.modules:  # its bindings would report all that is not collected as leaks
        gc.freeze()


def _import() -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)
    for name in ("numpy", "torch", "ts.model_service_worker"):
        import_module(name)
