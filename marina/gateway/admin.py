"""Envoy's admin interface, on a socket in the gateway's private folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT_S = 5.0


class Admin:
    """A connection to it.

    Args:
        socket: Where it listens.
    """

    def __init__(self, socket: Path):
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)),
            base_url="http://envoy",
            timeout=_TIMEOUT_S,
        )

    def is_live(self) -> bool:
        """Tell whether Envoy listens for clients."""
        try:
            return self._client.get("/ready").text.strip() == "LIVE"
        except httpx.HTTPError:
            return False

    def route_versions(self) -> dict[str, str]:
        """Give the version of each route table that Envoy uses now."""
        answer = self._client.get("/config_dump", params={"resource": "dynamic_route_configs"})
        configs: list[dict[str, Any]] = answer.raise_for_status().json().get("configs", [])
        return {each["route_config"]["name"]: each["version_info"] for each in configs}

    def counter(self, name: str) -> int:
        """Give the sum of the statistics whose whole name matches a regular expression."""
        answer = self._client.get("/stats", params={"filter": f"^{name}$", "format": "json"})
        stats = answer.raise_for_status().json()["stats"]
        return sum(int(stat["value"]) for stat in stats if "value" in stat)

    def post(self, path: str) -> None:
        """Have Envoy do something.

        Raises:
            httpx.HTTPError: It does not answer, or refuses.
        """
        self._client.post(path).raise_for_status()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
