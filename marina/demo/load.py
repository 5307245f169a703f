"""Live load from Locust, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from marina.child import Child
from marina.errors import RolloutError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from marina.serve import Server

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
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
            *(sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "DigitUser"),
            *("--headless", "--users", str(users), "--spawn-rate", str(users), "--skip-log"),
            *("--host", server.rest_url, "--management", server.management_url),
            *("--images", str(images), "--record", str(self._record)),
        ]

    def __enter__(self) -> Self:
        """Start it."""
        self._record.unlink(missing_ok=True)
        self._child = Child(self._command, self.log)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Have it tell its users to stop, and write its record; after an error, kill it."""
        self._child.stop(_END_TIMEOUT_S, is_forced=lambda: kind is not None)

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            RolloutError: It has.
        """
        if not self._child.is_running:
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
