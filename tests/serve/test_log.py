"""Reading the log while it grows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from marina.serve.log import Line, LogFollower

from .conftest import wait_until

if TYPE_CHECKING:
    from pathlib import Path

WORKER = "2026-11-21T03:02:08,060 INFO  [W-9000-a_b_1.0-stdout] MODEL_LOG - a - b"


def test_a_line_is_taken_apart() -> None:
    line = Line.parse(WORKER)
    assert (line.thread, line.source, line.text) == ("W-9000-a_b_1.0-stdout", "MODEL_LOG", "a - b")
    assert line.worker == "W-9000-a_b_1.0"
    assert line.whole == WORKER


def test_a_further_line_of_a_message_has_no_source() -> None:
    line = Line.parse("\tat org.pytorch.serve.ModelServer")
    assert (line.thread, line.source, line.worker) == ("", "", None)
    assert line.text == "\tat org.pytorch.serve.ModelServer"


def test_it_follows_from_the_end_across_rotations(tmp_path: Path) -> None:
    log = tmp_path / "torchserve.log"
    log.write_text("of an earlier server\n")
    lines: list[str] = []
    follower = LogFollower(log, [lambda line: lines.append(line.text)])
    follower.start()
    with log.open("a") as file:
        print("one\ntw", end="", file=file, flush=True)
        wait_until(lambda: lines == ["one"])
        print("o", file=file)
        log.rename(tmp_path / "torchserve.log.1")
        time.sleep(0.3)
        print("three", file=file, flush=True)
        log.write_text("four\n")
        wait_until(lambda: lines == ["one", "two", "three", "four"])
    with log.open("a") as file:
        print("five", file=file)
    follower.stop()
    assert lines[-1] == "five"


def test_the_log_may_come_later(tmp_path: Path) -> None:
    lines: list[str] = []
    follower = LogFollower(tmp_path / "torchserve.log", [lambda line: lines.append(line.text)])
    follower.start()
    (tmp_path / "torchserve.log").write_text("one\n")
    wait_until(lambda: lines == ["one"])
    follower.stop()


def test_a_dismissed_listener_hears_nothing_more(tmp_path: Path) -> None:
    log, kept, dismissed = tmp_path / "torchserve.log", list[Line](), list[Line]()
    listener = dismissed.append
    follower = LogFollower(log, [kept.append, listener])
    follower.dismiss(listener)
    follower.start()
    log.write_text("one\n")
    follower.stop()
    assert (len(kept), len(dismissed)) == (1, 0)
