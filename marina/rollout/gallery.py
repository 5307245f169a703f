"""The images of disagreements, beside the rollout's log, which names them for the report."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from marina.gateway import kept_images

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "images"


class Gallery:
    """Takes images over from the gateway, which keeps them for a moment only.

    Args:
        log_dir: The server's folder of logs.
        folder: Where the rollout's log is.
    """

    def __init__(self, log_dir: Path, folder: Path):
        self._log_dir = log_dir
        self._folder = folder

    def take(self, request_id: str) -> str | None:
        """Keep a request's image for good.

        Returns:
            The file, relative to the log; None if the image was not among those kept.
        """
        image = kept_images.kept_image(self._log_dir, request_id)
        if image is None:
            return None
        target = self._folder / FOLDER / image.name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the server swept it at this very moment
            image.replace(target)
            return f"{FOLDER}/{image.name}"
        return None

    def sweep(self) -> None:
        """Remove the images of requests that were not disagreed on in time."""
        kept_images.sweep(self._log_dir)
