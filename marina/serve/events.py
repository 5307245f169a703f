"""``marina.log``: what the server does, a line of JSON for each step."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE = "marina.log"


def event_line(message: str) -> str:
    """Give an event as it is logged: the keys of ``torchserve.log``."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {"time": time, "level": "INFO", "source": "marina", "message": message}
    return json.dumps(event, ensure_ascii=False)


def logged(tell: Callable[[str], None], log_dir: Path) -> Callable[[str], None]:
    """Give what tells of an event, and logs it too.

    Args:
        tell: Called with each event.
        log_dir: Folder of the log.
    """

    def log(message: str) -> None:
        with (
            contextlib.suppress(OSError),  # a full disk ends no server
            (log_dir / FILE).open("a", encoding="utf-8") as file,
        ):
            file.write(f"{event_line(message)}\n")
        tell(message)

    return log
