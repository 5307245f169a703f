"""What is asked and what is answered, whichever way it travels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from marina.errors import BadRequest, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

Value: TypeAlias = str | int | bool

_REQUEST_ID = re.compile(r"[!-~]{0,128}")


class Operation(Enum):
    """What a server can be asked to do. REST and gRPC each have a table of them."""

    PREDICT = auto()
    EXPLAIN = auto()
    PING = auto()
    READY = auto()
    LIST = auto()
    DESCRIBE = auto()
    REGISTER = auto()
    SCALE = auto()
    SET_DEFAULT = auto()
    UNREGISTER = auto()
    SWITCH = auto()
    SET_POLICY = auto()
    SPLITS = auto()
    SET_SPLIT = auto()
    CLEAR_SPLIT = auto()
    FEEDBACK = auto()

    @property
    def is_management(self) -> bool:
        """Whether the management API does it, which has an address and a token of its own."""
        return self not in {Operation.PREDICT, Operation.EXPLAIN, Operation.PING}


@dataclass(frozen=True, slots=True)
class Call:
    """One thing asked.

    Attributes:
        operation: What.
        model: Name of the model; empty where none is meant.
        version: Of the model; None takes the server's default.
        image: The file to classify.
        options: What the handler is told: headers over REST, input fields over gRPC.
        arguments: What the management API is told: the query over REST, the message's fields over
            gRPC, which go by the same names.
        request_id: The client's name for it.

    Raises:
        ModelNotFound: No model can have that name or version.
        BadRequest: The request id is no short ASCII word.
    """

    operation: Operation
    model: str = ""
    version: str | None = None
    image: bytes = b""
    options: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Value] = field(default_factory=dict)
    request_id: str = ""

    def __post_init__(self) -> None:
        for part in (self.model, self.version):
            if part in {".", ".."}:  # what an HTTP path takes for a way out
                raise ModelNotFound(f"no model and no version is called {part!r}")
        if not _REQUEST_ID.fullmatch(self.request_id):
            raise BadRequest(
                "a request id is at most 128 visible ASCII characters, not "
                f"{self.request_id[:128]!r}"
            )

    def named(self, request_id: str) -> Call:
        """Give the same call with a request id."""
        return replace(self, request_id=request_id)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call on its way.

    Attributes:
        call: What is asked.
        token: What to show for it, if anything.
    """

    call: Call
    token: str | None


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait between two attempts, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose transport reports no error.

    Attributes:
        body: JSON, as a rule.
    """

    body: bytes
