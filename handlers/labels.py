"""The names of a model's classes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_labels(file: Path) -> tuple[str, ...]:
    """Read ``index_to_name.json``: ``{"0": "ants", "1": "bees"}``.

    Args:
        file: The file.

    Returns:
        One name per class, by index.

    Raises:
        ValueError: Not such a mapping, or an index is missing.
    """
    names = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(names, dict) or not names:
        raise ValueError(f'{file.name}: expected {{"0": "name", …}}, got {type(names).__name__}')
    missing = [index for index in range(len(names)) if not isinstance(names.get(str(index)), str)]
    if missing:
        raise ValueError(
            f"{file.name}: expected a name for each index from 0 to {len(names) - 1}, "
            f"got none for {missing[0]}"
        )
    return tuple(names[str(index)] for index in range(len(names)))
