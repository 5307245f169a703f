"""What the gateway itself answers, in the form of TorchServe's errors.

Over REST a body ``{"code", "type", "message"}``; over gRPC a status whose message is ours, a
newline, and the type, as TorchServe has it.
"""

from __future__ import annotations

from typing import Any

from marina.gateway.config import Limits
from marina.gateway.routes import Table

Json = dict[str, Any]

_SAID = "%LOCAL_REPLY_BODY%"
_AS_IT_IS = {
    "text_format_source": {"inline_string": _SAID},
    "content_type": "application/json",
}

# What a status means over gRPC (google.golang.org/grpc/codes); Envoy's own table has 413 unknown.
_GRPC_STATUS = {400: 3, 404: 12, 408: 4, 413: 8, 429: 8, 431: 8, 503: 14, 504: 4}


def local_replies(table: Table, limits: Limits) -> Json:
    """Give Envoy's configuration of its own answers.

    Args:
        table: Over which transport.
        limits: Named in what is said of them.
    """
    mappers = [
        {
            "filter": condition,
            "status_code": status,
            "body_format_override": _body(table, status, kind, message),
            "headers_to_add": _headers(table, status),
        }
        for condition, status, kind, message in _replies(limits)
    ]
    if table == "rest":  # the one answer of its own that is no error
        mappers.append({"filter": _status(200), "body_format_override": _AS_IT_IS})
    general = _body(table, "%RESPONSE_CODE%", "Gateway", _SAID)
    return {"mappers": mappers, "body_format": general}


def _replies(limits: Limits) -> list[tuple[Json, int, str, str]]:
    """Give what is said when: condition, status, type, message. The first that holds is said."""
    late = (
        f"no answer came within {limits.deadline_s:g} s: the server is overloaded, or its worker "
        "hangs"
    )
    return [
        (_flag("UO"), 429, "QueueFull", "too many requests are being answered: try again later"),
        (_flag("UT", "DT", "SI"), 504, "DeadlineExceeded", late),
        (_status(504), 504, "DeadlineExceeded", late),
        (
            _flag("UF", "UC", "UH", "UR", "URX", "NC", "LR", "LH", "UPE"),
            503,
            "UpstreamUnavailable",
            "TorchServe cannot be reached, or hung up: try again later",
        ),
        (
            _status(413),
            413,
            "PayloadTooLarge",
            f"the request is larger than {limits.request_bytes} bytes",
        ),
        (
            _status(431),
            431,
            "HeadersTooLarge",
            f"expected at most {limits.headers} headers, of {limits.header_kib} KiB in all",
        ),
        (
            _status(408),
            408,
            "RequestTimeout",
            f"the headers did not arrive within {limits.header_timeout_s:g} s, or the whole "
            f"request within {limits.request_timeout_s:g} s",
        ),
        (_status(404), 404, "RouteNotFound", _SAID),
        (_status(400), 400, "BadRequest", _SAID),
    ]


def _body(table: Table, code: int | str, kind: str, message: str) -> Json:
    if table == "grpc":
        text = f"{message}\nmarina.gateway.{kind}Exception"
        return {"text_format_source": {"inline_string": text}}
    return {"json_format": {"code": code, "type": f"{kind}Exception", "message": message}}


def _headers(table: Table, status: int) -> list[Json]:
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    if table == "grpc":
        headers["grpc-status"] = str(_GRPC_STATUS[status])
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in headers.items()
    ]


def _flag(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


def _status(status: int) -> Json:
    value = {"default_value": status, "runtime_key": f"marina.status.{status}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
