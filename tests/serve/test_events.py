"""What the server tells of itself: ``marina.log``, and stderr in either form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marina.cli.serving import LogFormat, _echo, _tell
from marina.serve.events import FILE, logged
from marina.serve.log import Line

EVENT = {"time": "t", "level": "WARN", "thread": "main", "source": "Model", "message": 'a "b"'}


def test_an_event_is_told_and_logged(tmp_path: Path) -> None:
    told: list[str] = []
    tell = logged(told.append, tmp_path)
    tell("one")
    tell('a "second"\nwith two lines, ö')
    lines = (tmp_path / FILE).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["message"] for line in lines] == told
    assert told == ["one", 'a "second"\nwith two lines, ö']
    assert {json.loads(line)["source"] for line in lines} == {"marina"}


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    logged(told.append, tmp_path / "no such folder")("one")
    assert told == ["one"]


def test_on_stderr_it_is_json_if_it_shall(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing goes to stdout, and each line is one event."""
    _tell(LogFormat.json)("it starts")
    _echo(LogFormat.json)(Line.parse(json.dumps(EVENT)))
    out, err = capsys.readouterr()
    assert out == ""
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["it starts", 'a "b"']


def test_on_stderr_it_is_text_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    _echo(LogFormat.text)(Line.parse(json.dumps(EVENT)))
    assert capsys.readouterr().err == 't WARN  [main] Model - a "b"\n'
