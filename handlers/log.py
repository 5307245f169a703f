"""What a worker logs: each event one line, tracebacks and warnings too.

TorchServe makes an event of each line that a worker writes, so that a traceback would be dozens. An
event of several lines is written as JSON instead: ``{"event": "log", "level", "source", "message",
"exception"}``; the last one only where there is one.
"""

from __future__ import annotations

import json
import logging


class OneLine(logging.Formatter):
    """Writes what has one line as it is, and as JSON what has more."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of an event."""
        text = super().format(record)
        if "\n" not in text.rstrip("\n"):
            return text.rstrip("\n")
        event = {
            "event": "log",
            "level": record.levelname,
            "source": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event)


def log_in_lines() -> None:
    """Write all that this process logs, and the warnings of its libraries, in that form."""
    logging.captureWarnings(capture=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(OneLine())
