"""TorchServe's log: how Log4j writes it, and how a log is read while it grows.

``torchserve.log`` has a line of JSON for each event: ``time`` (UTC), ``level``, ``thread``,
``source``, ``message``, and ``exception`` where there is one. A message of a worker's may be JSON
itself, such as the handler's line of each batch (`handlers.record`), or an event of several lines
(`handlers.log`).
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Generic, TypeVar
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

LOG_FILE = "torchserve.log"
ACCESS_LOG_FILE = "access.log"

T = TypeVar("T")

_POLL_S = 0.1
_SEVERAL_LINES = '{"event": "log"'

# Of a worker, the DEBUG lines of WorkerThread tell when it takes and ends a batch, which draining
# needs, and those of the jobs how long each request waited. WorkerLifeCycle would repeat each
# metric of each batch at INFO. Left out is what says of each batch that it goes its way.
_LOG4J2 = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error" shutdownHook="disable">
  <Appenders>
    <RollingFile name="log" fileName="FOLDER/LOG" filePattern="FOLDER/LOG.%i">
      <PatternLayout alwaysWriteExceptions="false"><Pattern>{TIME, "level": "%p", \
"thread": "%enc{%t}{JSON}", "source": "%c{1}", "message": "%enc{%m}{JSON}"\
%notEmpty{, "exception": "%enc{%ex}{JSON}"}}%n</Pattern></PatternLayout>
      <SizeBasedTriggeringPolicy size="50 MB"/>
      <DefaultRolloverStrategy max="5"/>
    </RollingFile>
    <RollingFile name="access" fileName="FOLDER/ACCESS" filePattern="FOLDER/ACCESS.%i">
      <PatternLayout><Pattern>{TIME, "message": "%enc{%m}{JSON}"}%n</Pattern></PatternLayout>
      <SizeBasedTriggeringPolicy size="50 MB"/>
      <DefaultRolloverStrategy max="5"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="info"><AppenderRef ref="log"/></Root>
    <Logger name="ACCESS_LOG" level="info" additivity="false"><AppenderRef ref="access"/></Logger>
    <Logger name="org.pytorch.serve.wlm.WorkerThread" level="debug">
      <RegexFilter regex="Looping backend response.*" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>
    <Logger name="org.pytorch.serve.wlm.BatchAggregator" level="warn"/>
    <Logger name="org.pytorch.serve.wlm.WorkerLifeCycle" level="warn"/>
    <Logger name="org.pytorch.serve.job" level="debug"/>
    <Logger name="io" level="warn"/>
    <Logger name="org.apache" level="off"/>
  </Loggers>
</Configuration>
"""
_TIME = '"time": "%d{yyyy-MM-dd\'T\'HH:mm:ss.SSS}{UTC}Z"'


def render_log4j2(log_dir: Path) -> str:
    """Give the text of ``log4j2.xml`` that writes the logs into a folder."""
    folder = escape(str(log_dir), {'"': "&quot;"})
    text = _LOG4J2.replace("TIME", _TIME).replace("FOLDER/LOG", f"FOLDER/{LOG_FILE}")
    return text.replace("FOLDER/ACCESS", f"FOLDER/{ACCESS_LOG_FILE}").replace("FOLDER", folder)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log.

    Attributes:
        thread: The Java thread that wrote it; a worker's is ``W-9000-resnet_1.0``, and with
            ``-stdout`` or ``-stderr`` behind it for what the worker itself says. Empty for a line
            that is no event.
        source: Which part of TorchServe; ``MODEL_LOG`` for what a worker says.
        text: The message.
        whole: The line as it stands in the file.
        level: Such as ``INFO``.
        time: UTC, ISO 8601.
    """

    thread: str
    source: str
    text: str
    whole: str
    level: str = ""
    time: str = ""

    @classmethod
    def parse(cls, whole: str) -> Line:
        """Take a line apart."""
        try:
            event = json.loads(whole)
            return cls(
                str(event["thread"]),
                str(event["source"]),
                str(event["message"]),
                whole,
                str(event["level"]),
                str(event["time"]),
            )
        except (ValueError, KeyError, TypeError):
            return cls("", "", whole, whole)

    @property
    def worker(self) -> str | None:
        """The worker that it is about, such as ``W-9000-resnet_1.0``."""
        if not self.thread.startswith("W-"):
            return None
        return self.thread.removesuffix("-stdout").removesuffix("-stderr")

    def as_text(self) -> str:
        """Give it for a person to read."""
        if not self.source:
            return self.whole
        text = "\n".join(self.lines)
        return f"{self.time} {self.level:<5} [{self.thread}] {self.source} - {text}"

    @property
    def lines(self) -> list[str]:
        """The lines of the message; what a worker wrote as one line of JSON, taken apart."""
        if not self.text.startswith(_SEVERAL_LINES):
            return [self.text]
        try:
            event = json.loads(self.text)
            return f"{event['message']}\n{event.get('exception', '')}".splitlines()
        except (ValueError, KeyError):
            return [self.text]


class LogFollower(Generic[T]):
    """A thread that hands each new line of a log to its listeners, across rotations.

    Args:
        file: The log; what it holds already is skipped, and it need not exist yet.
        parse: Makes of a line what the listeners take.
        listeners: Called with each line, in the follower's thread.
    """

    def __init__(
        self, file: Path, parse: Callable[[str], T], listeners: Iterable[Callable[[T], None]]
    ):
        self._path = file
        self._parse = parse
        self._listeners = tuple(listeners)
        self._start_at = file.stat().st_size if file.exists() else 0
        self._stream: BinaryIO | None = None
        self._rest = b""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log follower", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def tell(self, listener: Callable[[T], None]) -> None:
        """Tell one more listener each line from now on."""
        self._listeners = (*self._listeners, listener)

    def dismiss(self, listener: Callable[[T], None]) -> None:
        """Tell one of the listeners nothing more."""
        self._listeners = tuple(each for each in self._listeners if each is not listener)

    def stop(self) -> None:
        """Read to the end, then stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_POLL_S):
            self._read()
        self._read()
        if self._stream is not None:
            self._stream.close()

    def _read(self) -> None:
        if self._stream is None:
            self._open()
        self._read_stream()
        if self._stream is not None and self._was_rotated():
            self._read_stream()  # what came between the last read and the rotation
            self._stream.close()
            self._stream = None
            self._read()

    def _open(self) -> None:
        try:
            self._stream = self._path.open("rb")
        except FileNotFoundError:
            return
        self._stream.seek(self._start_at)
        self._start_at = 0

    def _was_rotated(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:  # in the midst of a rotation: look again at the next poll
            return False
        return self._stream is not None and status.st_ino != os.fstat(self._stream.fileno()).st_ino

    def _read_stream(self) -> None:
        if self._stream is None:
            return
        *lines, self._rest = (self._rest + self._stream.read()).split(b"\n")
        for raw in lines:
            line = self._parse(raw.decode("utf-8", "replace").rstrip("\r"))
            for listener in self._listeners:
                listener(line)
