"""Labels that come back: a line of JSON each, only ever added to, beside the access log."""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import TYPE_CHECKING

from marina.errors import OperationRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "feedback.jsonl"

_LONGEST = {"request_id": 128, "label": 256}


def add_feedback(log_dir: Path, given: Mapping[str, object]) -> dict[str, str]:
    """Keep a label; it is on the disk when this returns.

    Args:
        log_dir: The server's folder of logs.
        given: ``request_id`` and ``label``.

    Returns:
        What was kept.

    Raises:
        OperationRefused: One of the two is missing, or too long.
    """
    kept = {name: str(given.get(name, "")).strip() for name in _LONGEST}
    for name, most in _LONGEST.items():
        if not 0 < len(kept[name]) <= most:
            raise OperationRefused(f"{name} has 1 to {most} characters, not {len(kept[name])}")
    line = json.dumps({"at": time.time(), **kept}, ensure_ascii=False) + "\n"
    handle = os.open(log_dir / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        # What stands there may end in half a line of a server that was killed.
        lead = "\n" if os.fstat(handle).st_size else ""
        os.write(handle, (lead + line).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    return kept
