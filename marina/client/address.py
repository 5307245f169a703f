"""Whether an address is this machine's own."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is the loopback interface, which no proxy can stand in for.

    ``http_proxy`` is set on many machines without ``no_proxy=localhost`` beside it; a request to
    the loopback would then ask the proxy for the proxy's own port.
    """
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
