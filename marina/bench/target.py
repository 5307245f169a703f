"""What answers at an address, as far as `marina serve` tells of it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Target:
    """What is measured.

    Attributes:
        archive: The ``.mar``; None if nothing is known.
        sha256: Of that file.
        version: Of the model.
        metrics_url: Where the server's Prometheus metrics are.
    """

    archive: Path | None = None
    sha256: str | None = None
    version: str | None = None
    metrics_url: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give it as a result holds it, with the recipe that the archive was made from."""
        provenance = self.provenance()
        return {
            "archive": self.archive and self.archive.name,
            "sha256": self.sha256,
            "version": self.version,
            "recipe": provenance.get("recipe"),
            "source_commit": provenance.get("environment", {}).get("commit"),
        }

    def provenance(self) -> dict[str, Any]:
        """Read where the archive comes from; empty if that cannot be told."""
        if self.archive is None:
            return {}
        try:
            with zipfile.ZipFile(self.archive) as content:
                provenance: dict[str, Any] = json.loads(content.read("provenance.json"))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return {}
        return provenance


def find_target(url: str, model: str, version: str | None, log_dir: Path) -> Target:
    """Find what answers at an address, by the ``serve.json`` of a running `marina serve`.

    Args:
        url: Base URL of the server, or its ``host:port`` for gRPC.
        model: Name of the model.
        version: Of the model; None takes the server's default, the first one listed.
        log_dir: Folder of ``serve.json``.

    Returns:
        What was found; an empty target where the file is missing or speaks of another server.
    """
    try:
        status = json.loads((log_dir / "serve.json").read_text())
        urls = {_address(status["urls"][name]) for name in ("rest", "grpc")}
        if status["status"] != "ready" or _address(url) not in urls:
            return Target()
        for served in status["models"]:
            if served["name"] == model and version in (None, served["version"]):
                file = Path(served["file"])
                metrics = status["urls"].get("metrics")
                return Target(file, served["sha256"], served["version"], metrics)
        return Target(metrics_url=status["urls"].get("metrics"))
    except (OSError, ValueError, KeyError, TypeError):
        return Target()


def _address(url: str) -> tuple[str | None, int | None]:
    parts = urlsplit(url if "://" in url else f"//{url}")
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return host, parts.port
