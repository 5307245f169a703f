"""Live load from Locust, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from marina.errors import RolloutError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from marina.serve import Server

_HERE = Path(__file__).parent
_TETHER = _HERE.parent / "serve" / "tether.py"
_END_TIMEOUT_S = 20.0


class LiveLoad:
    """A few users who ask a server until the block ends.

    Closed loop, and few: a machine that is overloaded makes every version look equally slow.

    Args:
        server: Whom they ask.
        images: Folder of theirs, a folder of each class in it.
        users: How many.

    Attributes:
        log: What Locust says.
    """

    def __init__(self, server: Server, images: Path, users: int):
        self.log = server.log_dir / "locust.log"
        self._record = server.log_dir / "locust.json"
        self._command = [
            *(sys.executable, "-m", "locust", "-f", str(_HERE / "locustfile.py"), "DigitUser"),
            *("--headless", "--users", str(users), "--spawn-rate", str(users), "--skip-log"),
            *("--host", server.rest_url, "--management", server.management_url),
            *("--images", str(images), "--record", str(self._record)),
        ]

    def __enter__(self) -> Self:
        """Start it, out of reach of a terminal's Ctrl-C; on Linux it dies with this thread."""
        self._record.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.terminate()  # it tells its users to stop, and writes its record
        try:
            self._process.wait(_END_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            RolloutError: It has.
        """
        if self._process.poll() is not None:
            raise RolloutError(f"the load ended before the rollouts did: {self.log} says why")

    def statuses(self) -> Counter[int]:
        """Give how often each status was answered, once the block has ended; 0 is no answer.

        Raises:
            RolloutError: It did not end as it should.
        """
        try:
            return Counter(json.loads(self._record.read_text())["status"])
        except (OSError, ValueError, KeyError) as err:
            raise RolloutError(
                f"the load left no record of what it was answered: {self.log} says why"
            ) from err
