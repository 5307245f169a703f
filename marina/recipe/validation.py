"""Typed YAML: a mapping becomes a section, with errors that name the key and what it may be."""

from __future__ import annotations

import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from marina.errors import MarinaError

Model = TypeVar("Model", bound=pydantic.BaseModel)


def read_mapping(path: Path, error: type[MarinaError], absent: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Args:
        path: The file.
        error: What to raise if it is missing, is not YAML or holds something else.
        absent: What to say if it is missing; ``{}`` is the system's own reason.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as err:
        raise error(absent.format(err.strerror)) from err
    except yaml.YAMLError as err:
        raise error(f"{path} is not YAML: {err}") from err
    if not isinstance(content, dict):
        raise error(f"{path} must hold a mapping of sections, not {type(content).__name__}")
    return content


def validate(
    kind: type[Model], content: dict[str, Any], error: type[MarinaError], headline: str
) -> Model:
    """Give the typed form of ``content``, or raise ``error`` with a line per broken rule."""
    try:
        return kind.model_validate(content)
    except pydantic.ValidationError as err:
        raise error("\n".join([headline, *_explain(err, kind)])) from err


def _explain(error: pydantic.ValidationError, kind: type[pydantic.BaseModel]) -> list[str]:
    """Give a line per broken rule: the key's path, then what is wrong with it."""
    lines = []
    for problem in error.errors():
        *parents, last = problem["loc"] or ("the whole",)
        path = ".".join(str(part) for part in [*parents, last])
        if problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            lines.append(f"  {path}: unknown key. {_nearest(kind, parents, str(last))}")
        else:
            lines.append(f"  {path}: {problem['msg']} (given: {problem['input']!r})")
    return lines


def _nearest(kind: type[pydantic.BaseModel], parents: list[int | str], unknown: str) -> str:
    """Name the valid key nearest to an unknown one, or all of them if none is near."""
    valid = _keys(kind, parents)
    near = difflib.get_close_matches(unknown, valid, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Valid here: {', '.join(valid)}"


def _keys(kind: type[pydantic.BaseModel], parents: list[int | str]) -> list[str]:
    sections: list[Any] = [kind]
    for name in parents:
        if isinstance(name, str):  # a number is a place in a list
            sections = _inside(sections, name)
    (section,) = sections
    return list(getattr(section, "model_fields", None) or section.__dataclass_fields__)


def _inside(sections: list[Any], name: str) -> list[Any]:
    """Step into a field; or, where one of several sections may stand, into that of this kind."""
    if len(sections) == 1:
        return _sections_of(sections[0].model_fields[name].annotation)
    kinds = {typing.get_args(s.model_fields["kind"].annotation): s for s in sections}
    return [kinds[name,]]


def _sections_of(annotation: Any) -> list[Any]:
    """Give the sections in ``Section | None``, ``A | B`` or ``tuple[Section, ...]``."""
    if typing.get_origin(annotation) in {types.UnionType, typing.Union, tuple, list}:
        parts = typing.get_args(annotation)
        return [section for part in parts for section in _sections_of(part)]
    is_section = hasattr(annotation, "model_fields") or hasattr(annotation, "__dataclass_fields__")
    return [annotation] if is_section else []
