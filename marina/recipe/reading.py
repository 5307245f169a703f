"""Reading a recipe from its YAML, with errors that name the key and what it may be."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pydantic
import yaml

from marina.errors import RecipeError
from marina.recipe.recipe import Recipe


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply ``section.key=value`` overrides, whose values are YAML.

    Raises:
        RecipeError: The file is missing, is not YAML, or breaks a rule; the message names each
            key, what was expected and, for an unknown key, the nearest valid one.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as err:
        raise RecipeError(
            f"no recipe at {path}: {err.strerror}. Shipped ones: models/*.yaml"
        ) from err
    except yaml.YAMLError as err:
        raise RecipeError(f"{path} is not YAML: {err}") from err
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold a mapping of sections, not {type(content).__name__}")
    for override in overrides:
        _apply(content, override)
    try:
        return Recipe.model_validate(content)
    except pydantic.ValidationError as err:
        raise RecipeError(
            "\n".join([f"{path} breaks the recipe's rules:", *_explain(err)])
        ) from err


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"--set takes section.key=value, not {override!r}")
    *sections, last = key.strip().split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {override}: {section} is a value, not a section")
    try:
        content[last] = yaml.safe_load(value)
    except yaml.YAMLError as err:
        raise RecipeError(f"--set {override}: {value!r} is not YAML: {err}") from err


def _explain(error: pydantic.ValidationError) -> list[str]:
    """Give a line per broken rule: the key's path, then what is wrong with it."""
    lines = []
    for problem in error.errors():
        *parents, last = (str(part) for part in problem["loc"]) if problem["loc"] else ("recipe",)
        path = ".".join([*parents, last])
        if problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            lines.append(f"  {path}: unknown key. {_nearest(parents, last)}")
        else:
            lines.append(f"  {path}: {problem['msg']} (given: {problem['input']!r})")
    return lines


def _nearest(parents: list[str], unknown: str) -> str:
    """Name the valid key nearest to an unknown one, or all of them if none is near."""
    valid = _keys(parents)
    near = difflib.get_close_matches(unknown, valid, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Valid here: {', '.join(valid)}"


def _keys(parents: list[str]) -> list[str]:
    section: Any = Recipe
    for name in parents:
        section = section.model_fields[name].annotation
    return list(getattr(section, "model_fields", None) or section.__dataclass_fields__)
