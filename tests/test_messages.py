"""What is told on stderr comes out as it was written, brackets and all."""

from __future__ import annotations

import pytest

import marina.cli
from marina.cli.serving import LogFormat, _tell
from marina.errors import ServeError

TEXT = "no such route: POST /predictions/<model>[/<version>], pip install 'marina[onnx]'"


def test_errors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ServeError(TEXT)

    monkeypatch.setattr(marina.cli, "app", fail)
    with pytest.raises(SystemExit):
        marina.cli.main()
    assert f"error: {TEXT}" in capsys.readouterr().err


def test_events(capsys: pytest.CaptureFixture[str]) -> None:
    _tell(LogFormat.text)(TEXT)
    assert TEXT in capsys.readouterr().err.replace("\n", " ")
