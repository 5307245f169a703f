"""The order of versions."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version


def precedence(version: str) -> tuple[bool, Version, str]:
    """Order versions: 1.10 above 1.9, 1.0 above 1.0rc1, and words below all numbers."""
    try:
        return True, Version(version), version
    except InvalidVersion:
        return False, Version("0"), version
