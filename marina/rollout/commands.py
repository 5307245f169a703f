"""Commands to a rollout that another process drives: an inbox beside its log.

A verb adds a line, the driver obeys it at its next turn (`RecordedRollout.obey`), or at its next
start if none runs now. Each line is obeyed once: how far the inbox was read stands in the log.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from marina.errors import RolloutError
from marina.rollout.decision import Action


@dataclass(frozen=True)
class Command:
    """What a person decided.

    Attributes:
        action: Pause, resume, promote or rollback.
        at: When, in seconds since 1970.
        reason: Why, for the log.
    """

    action: Action
    at: float
    reason: str


def log_of(log_dir: Path, model: str) -> Path:
    """Give the log of a model's rollout, below the server's folder of logs.

    Raises:
        RolloutError: The name is no model's.
    """
    if not model or "/" in model or model.startswith("."):
        raise RolloutError(f"{model!r} is no model's name: give one such as resnet")
    return log_dir / "rollouts" / model / "rollout.jsonl"


def inbox_of(log: Path) -> Path:
    """Give the inbox beside a log."""
    return log.with_name("commands.jsonl")


def send(log: Path, command: Command) -> None:
    """Leave a command for whoever drives the rollout.

    Raises:
        RolloutError: There is no such rollout.
    """
    if not log.is_file():
        raise RolloutError(f"no rollout log at {log}: `marina rollout start FILE` begins one")
    line = b"\n" + json.dumps(asdict(command), ensure_ascii=False).encode() + b"\n"
    handle = os.open(inbox_of(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def receive(log: Path, offset: int) -> list[tuple[Command, int]]:
    """Give the commands behind ``offset``, each with the offset behind itself."""
    inbox = inbox_of(log)
    if not inbox.is_file():
        return []
    with inbox.open("rb") as file:
        file.seek(offset)
        lines = file.read().split(b"\n")[:-1]  # half a line is not there yet
    found = []
    for line in lines:
        offset += len(line) + 1
        try:
            content = json.loads(line)
            command = Command(Action(content["action"]), float(content["at"]), content["reason"])
        except (ValueError, KeyError, TypeError):
            continue  # a verb was killed in the middle of its line: it never said anything
        found.append((command, offset))
    return found
