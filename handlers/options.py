"""What a client may choose for its own answer, and what it gets when it chooses nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from handlers.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

AnswerFormat = Literal["stock", "detailed"]

FORMAT_OPTION = "x-marina-format"
TOP_K_OPTION = "x-marina-top-k"
# TorchServe sets this header on what comes to /explanations; over gRPC it is an input field.
EXPLAIN_OPTION = "explain"

_WHOLE_NUMBER = re.compile(r"0*[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Options:
    """The form of one answer.

    Attributes:
        format: ``stock`` is TorchServe's ``{label: probability}``; ``detailed`` names the model,
            its version and each class's index.
        top_k: Classes in the answer; more than there are gives all of them.
        explain: Whether the answer is an explanation of the likeliest class instead.
    """

    format: AnswerFormat
    top_k: int
    explain: bool = False


def read_options(item: Mapping[str, Any], headers: Mapping[str, Any], defaults: Options) -> Options:
    """Read a request's options from its headers or, since gRPC has none, its input fields.

    Args:
        item: The request's input fields.
        headers: The request's headers.
        defaults: What holds where the request says nothing.

    Returns:
        The options.

    Raises:
        BadRequest: A value that is not allowed; the message says which ones are.
    """
    given = {name.lower(): value for source in (headers, item) for name, value in source.items()}
    return Options(
        format=_read_format(_text(given.get(FORMAT_OPTION)), defaults.format),
        top_k=_read_top_k(_text(given.get(TOP_K_OPTION)), defaults.top_k),
        explain=_text(_explain_option(given, headers)) == "True",
    )


def _explain_option(given: Mapping[str, Any], headers: Mapping[str, Any]) -> object:
    """Give what asks for an explanation: over REST the header alone, which no query or form sets.

    So a gateway that closes /explanations and drops the header has closed them all. Over gRPC
    TorchServe passes no header, and so no Host.
    """
    named = {name.lower(): value for name, value in headers.items()}
    return (named if isinstance(named.get("host"), str) else given).get(EXPLAIN_OPTION)


def _text(value: object) -> str | None:
    """Give an option's text; TorchServe sets a mapping in the place of a field's header."""
    if isinstance(value, bytes | bytearray):
        value = value.decode("latin-1")
    if isinstance(value, int):  # a field of type application/json
        value = str(value)
    return value.strip() if isinstance(value, str) else None


def _read_format(value: str | None, default: AnswerFormat) -> AnswerFormat:
    if value is None:
        return default
    if value.lower() not in get_args(AnswerFormat):
        raise BadRequest("X-Marina-Format must be stock or detailed")
    return cast("AnswerFormat", value.lower())


def _read_top_k(value: str | None, default: int) -> int:
    if value is None:
        return default
    if not _WHOLE_NUMBER.fullmatch(value):
        raise BadRequest("X-Marina-Top-K must be a whole number of at least 1")
    return int(value)
