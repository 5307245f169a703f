"""The access log: a line of JSON for each request.

======================  ========================================================================
key                     what it says
======================  ========================================================================
``time``                when the request began (UTC)
``request_id``          the client's, or one made here; a shadow's copy has the same one
``transport``           ``rest``, ``grpc``, or ``shadow`` for a copy
``model``               that was asked for
``asked_version``       that the client named
``arm``                 the version that the split chose
``kind``                ``split``, ``forced`` (by a tester's header) or ``shadow``
``user``                a hash of the sticky header's value
``version``             of the model that answered
``status``              of the answer; over gRPC that of the error in its body, if it is one
``grpc_status``         over gRPC
``duration_us``         from the request's first byte to the answer's last
``upstream_us``         from the first byte sent to TorchServe to the answer's first
``top1``                the likeliest class, percent-encoded
``confidence``          its probability
``flags``, ``details``  why the gateway answered by itself, in Envoy's words
======================  ========================================================================

A key without a value is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from marina.gateway.routes import Table

FILE = "gateway.log"

# gRPC's own statuses as HTTP's; what is not named is the server's fault.
_GRPC_STATUS = {
    0: 200, 1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 12: 501, 14: 503, 16: 401,
}  # fmt: skip

_STREAM = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


def access_log(table: Table, file: Path) -> dict[str, Any]:
    """Give Envoy's configuration of the log.

    Args:
        table: Whose requests.
        file: Where to.
    """
    # What Lua found stands in metadata: a header of that name might be a client's.
    found = {
        name: f"%DYNAMIC_METADATA(marina:{name})%"
        for name in ("model", "arm", "kind", "user", "code")
    }
    line = {
        "time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "transport": table,
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "protocol": "%PROTOCOL%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        **found,
        "asked_version": "%DYNAMIC_METADATA(marina:version)%",
        "version": "%RESP(X-MARINA-VERSION)%",
        "http_status": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS_NUMBER%",
        "duration_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "upstream_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
        "request_bytes": "%BYTES_RECEIVED%",
        "response_bytes": "%BYTES_SENT%",
        "top1": "%RESP(X-MARINA-TOP1)%",
        "confidence": "%RESP(X-MARINA-CONFIDENCE)%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
    }
    log_format = {"json_format": line, "omit_empty_values": False}
    config = {"@type": _STREAM, "path": str(file), "log_format": log_format}
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def read_log(file: Path) -> Iterator[dict[str, Any]]:
    """Read a log, what was put aside of it first, in the order in which the requests ended.

    A line that is still being written is left out.
    """
    for each in (file.with_name(f"{file.name}.1"), file):
        if not each.exists():
            continue
        with each.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)


def status_of(line: Mapping[str, Any]) -> int:
    """Give the HTTP status of a line over either transport; 0 where the client went away.

    An error in a gRPC answer's body has its own.
    """
    if line["code"] is not None:
        return int(line["code"])
    if line["grpc_status"] is not None:
        return _GRPC_STATUS.get(int(line["grpc_status"]), 500)
    return int(line["http_status"] or 0)
