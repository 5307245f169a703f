"""Options and answers: what both transports say to the handler, and how they read what it says.

Both ask for the detailed form, ``{"model", "version", "predictions": [{"label", "index",
"probability"}]}``. An error has TorchServe's form, ``{"code", "type", "message"}``; over gRPC
TorchServe reports OK with such a body, so a body is looked at whatever its status.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from marina.errors import ClientError, ServerFault, error_from_body


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of an answer.

    Attributes:
        label: The class's name.
        index: The class's place in the model's output.
        probability: In [0, 1].
    """

    label: str
    index: int
    probability: float


def request_options(top_k: int | None) -> dict[str, str]:
    """Give the options of a request: headers over REST, input fields in lower case over gRPC.

    Args:
        top_k: Classes wanted; None takes as many as the model's recipe says.
    """
    options = {"X-Marina-Format": "detailed"}
    if top_k is not None:
        options["X-Marina-Top-K"] = str(top_k)
    return options


def read_answer(body: bytes, request_id: str | None = None) -> list[Prediction]:
    """Read the body of an answer whose status was no error.

    Returns:
        The predictions, the likeliest first.

    Raises:
        ClientError: The body is an error after all; of the class that fits its code.
        ServerFault: The body is not the detailed form.
    """
    document = _parse(body)
    if isinstance(document, dict) and isinstance(document.get("code"), int):
        raise read_error(body, document["code"], request_id)
    try:
        return [_prediction(entry) for entry in document["predictions"]]
    except (KeyError, TypeError, ValueError) as err:
        raise ServerFault(
            'expected an answer with "predictions" of label, index and probability, got '
            f"{_excerpt(body)}. Only models archived by `marina archive` answer in that form",
            request_id=request_id,
        ) from err


def read_error(body: bytes, status: int, request_id: str | None = None) -> ClientError:
    """Give the error that an answer stands for; its body may be empty, or not JSON at all."""
    document = _parse(body)
    if isinstance(document, dict) and isinstance(document.get("message"), str):
        return error_from_body(
            status, str(document.get("type", "")), document["message"], request_id
        )
    said = f": {_excerpt(body)}" if body else ""
    message = f"the server answered {status} {_phrase(status)}{said}"
    return error_from_body(status, "", message, request_id)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _prediction(entry: dict[str, Any]) -> Prediction:
    return Prediction(str(entry["label"]), int(entry["index"]), float(entry["probability"]))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(a status of its own)"


def _excerpt(body: bytes, limit: int = 120) -> str:
    text = body.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= limit else f"{text[:limit]}…")
