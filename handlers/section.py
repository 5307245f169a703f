"""A section of ``model-config.yaml`` read into a frozen dataclass, with every key checked."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def read_section(kind: type[T], section: object, name: str) -> T:
    """Build ``kind``, a dataclass, from a mapping as YAML gives it.

    Lists become tuples; the values' own rules are checked by ``kind.__post_init__``.

    Args:
        kind: The dataclass.
        section: The mapping of field names to values.
        name: What the section is called, for messages.

    Returns:
        The dataclass.

    Raises:
        ValueError: Not a mapping, an unknown key (its nearest valid one is named), a missing key,
            or a value that ``kind`` refuses.
    """
    if not isinstance(section, Mapping):
        message = f"section {name}: expected a mapping, got {type(section).__name__}"
        raise ValueError(message)  # noqa: TRY004 - a file is wrong, not a call
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in section:
        if key not in fields:
            raise ValueError(f"section {name}: unknown key {key!r}{_nearest(str(key), fields)}")
    missing = [key for key, field in fields.items() if _required(field) and key not in section]
    if missing:
        raise ValueError(f"section {name}: missing {', '.join(missing)}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}
    try:
        return kind(**values)
    except ValueError as err:
        raise ValueError(f"section {name}: {err}") from err


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _nearest(key: str, valid: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, valid, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; valid keys: {', '.join(valid)}"
