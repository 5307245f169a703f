"""Serve until a signal comes. The tests run it as a process of its own, and send it some.

    python program.py PORTS LOG_DIR wait|work FILE.mar…

PORTS are five numbers with commas between. ``wait`` waits as `marina serve` does; ``work`` does
something of its own, as a demo that sends predictions.
"""

import sys
import time
from pathlib import Path

from marina.errors import ServeError
from marina.serve import ServeConfig, resolve, running


def main() -> None:
    ports, log_dir, mode, *files = sys.argv[1:]
    names = ("rest_port", "grpc_port", "management_port", "grpc_management_port", "metrics_port")
    numbers = dict(zip(names, map(int, ports.split(",")), strict=True))
    config = ServeConfig(drain_timeout_s=20, **numbers)
    try:
        with running(config, resolve(files, Path()), log_dir=Path(log_dir), on_event=say) as server:
            if mode == "wait":
                server.wait()
            else:
                time.sleep(1000)
    except ServeError as err:
        say(f"error: {err}")
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
