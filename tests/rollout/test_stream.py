from __future__ import annotations

from pathlib import Path

import pytest

from marina.rollout.stream import LogLost, LogStream, Place


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.log"


def add(file: Path, text: str) -> None:
    with file.open("a") as log:
        log.write(text)


def put_aside(file: Path) -> None:
    file.replace(file.with_name("gateway.log.1"))


def test_whole_lines_are_read_once(file: Path) -> None:
    stream = LogStream(file)
    lines, place = stream.read(stream.end())
    assert (lines, place) == ([], Place())
    add(file, "one\ntwo\nthr")
    lines, place = stream.read(place)
    assert lines == [b"one", b"two"]
    add(file, "ee\n")
    assert stream.read(place)[0] == [b"three"]
    assert stream.read(stream.end())[0] == []


def test_a_rotation_loses_nothing(file: Path) -> None:
    stream = LogStream(file)
    add(file, "one\n")
    _, place = stream.read(stream.start())
    add(file, "two\n")
    put_aside(file)
    lines, place = stream.read(place)  # nothing new was written yet
    assert lines == [b"two"]
    add(file, "three\n")
    lines, place = stream.read(place)
    assert lines == [b"three"]
    add(file, "four\n")
    assert stream.read(place)[0] == [b"four"]
    assert stream.read(stream.start(), until=place)[0] == [b"one", b"two", b"three"]
    assert stream.read(stream.start(), until=Place())[0] == []


@pytest.mark.parametrize("how", ["removed", "cut off", "replaced", "rotated twice"])
def test_what_was_lost_is_told(file: Path, how: str) -> None:
    stream = LogStream(file)
    add(file, "one\ntwo\n")
    place = stream.end()
    if how == "removed":
        file.unlink()
    elif how == "cut off":
        file.write_text("one\n")
    elif how == "replaced":
        file.write_text("other\nlines\n")
    else:
        for number in range(2):
            put_aside(file)
            add(file, f"later {number}\n")
    with pytest.raises(LogLost, match=r"no longer holds what stood behind byte 8: .* --skip-lost"):
        stream.read(place)
