"""Become another program that dies with the process which started it.

    python -I -S tether.py PARENT_PID PROGRAM ARGUMENT…

A process killed with SIGKILL cannot stop its children, and TorchServe would go on serving and
holding its ports. On Linux the kernel does it (prctl(2), PR_SET_PDEATHSIG); the setting outlives
``execve``. It stands in a program of its own since `subprocess`'s ``preexec_fn`` may deadlock
where there are threads, as gRPC's. Elsewhere than on Linux it changes nothing.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent_pid, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent_pid):  # it died before the setting took hold
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the command is Marina's own


if __name__ == "__main__":
    main()
