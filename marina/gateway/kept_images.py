"""Images of copies: kept by opt-in and by sample, for the moment until the answers are compared.

``keep.lua`` writes them. A rollout takes those on which the versions disagree; all the others go.
Images that come as a form or as base64 are not kept.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "shadow-images"
SUFFIXES = (".png", ".jpg")
MOST_S = 60.0


def prepare(log_dir: Path) -> None:
    """Make the folder, for this user's eyes alone, and empty it."""
    folder = log_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    sweep(log_dir, 0.0)


def kept_image(log_dir: Path, request_id: str) -> Path | None:
    """Give the image of a request, if it was kept."""
    if not request_id.replace("-", "").isalnum():
        return None
    files = (log_dir / FOLDER / f"{request_id}{suffix}" for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def sweep(log_dir: Path, most_s: float = MOST_S) -> None:
    """Remove what nobody took within so many seconds."""
    folder = log_dir / FOLDER
    if not folder.is_dir():
        return
    limit = time.time() - most_s
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # taken at this very moment
            if file.stat().st_mtime <= limit:
                file.unlink()
