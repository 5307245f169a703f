"""Reading the log while it grows."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from marina.serve.log import Line, LogFollower

from .conftest import wait_until

if TYPE_CHECKING:
    from pathlib import Path

EVENT = {
    "time": "2026-11-21T03:02:08.060Z",
    "level": "INFO",
    "thread": "W-9000-a_b_1.0-stdout",
    "source": "MODEL_LOG",
    "message": 'it says "ö"\tand\nmore',
}


def test_a_line_is_taken_apart() -> None:
    line = Line.parse(json.dumps(EVENT))
    assert (line.thread, line.source, line.text) == (
        "W-9000-a_b_1.0-stdout",
        "MODEL_LOG",
        'it says "ö"\tand\nmore',
    )
    assert line.worker == "W-9000-a_b_1.0"
    assert json.loads(line.whole) == EVENT
    assert line.as_text().startswith(
        '2026-11-21T03:02:08.060Z INFO  [W-9000-a_b_1.0-stdout] MODEL_LOG - it says "ö"'
    )


def test_a_workers_event_of_several_lines_is_taken_apart() -> None:
    several = {"event": "log", "message": "it died", "exception": "Traceback:\nValueError: a\nb"}
    line = Line.parse(json.dumps({**EVENT, "message": json.dumps(several)}))
    assert line.lines == ["it died", "Traceback:", "ValueError: a", "b"]
    assert line.as_text().endswith(" - it died\nTraceback:\nValueError: a\nb")
    for text in ("one", '{"event": "log", "message"', '{"event": "log"}'):
        assert Line.parse(json.dumps({**EVENT, "message": text})).lines == [text]


@pytest.mark.parametrize("whole", ["no event", "[]", "3", '{"message": "of another"}', '{"time'])
def test_what_is_no_event_has_no_source(whole: str) -> None:
    line = Line.parse(whole)
    assert (line.thread, line.source, line.worker) == ("", "", None)
    assert line.text == line.as_text() == whole


def test_it_follows_from_the_end_across_rotations(tmp_path: Path) -> None:
    log = tmp_path / "torchserve.log"
    log.write_text("of an earlier server\n")
    lines: list[str] = []
    follower = LogFollower(log, Line.parse, [lambda line: lines.append(line.text)])
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
    follower = LogFollower(
        tmp_path / "torchserve.log", Line.parse, [lambda line: lines.append(line.text)]
    )
    follower.start()
    (tmp_path / "torchserve.log").write_text("one\n")
    wait_until(lambda: lines == ["one"])
    follower.stop()


def test_a_dismissed_listener_hears_nothing_more(tmp_path: Path) -> None:
    log, kept, dismissed = tmp_path / "torchserve.log", list[Line](), list[Line]()
    listener = dismissed.append
    follower = LogFollower(log, Line.parse, [kept.append, listener])
    follower.dismiss(listener)
    follower.start()
    log.write_text("one\n")
    follower.stop()
    assert (len(kept), len(dismissed)) == (1, 0)
