"""Reading a recipe from its YAML, with errors that name the key and what it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from marina.errors import RecipeError
from marina.recipe.recipe import Recipe
from marina.recipe.validation import read_mapping, validate


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply ``section.key=value`` overrides, whose values are YAML.

    Raises:
        RecipeError: The file is missing, is not YAML, or breaks a rule; the message names each
            key, what was expected and, for an unknown key, the nearest valid one.
    """
    absent = f"no recipe at {path}: {{}}. Shipped ones: models/*.yaml"
    content = read_mapping(path, RecipeError, absent)
    for override in overrides:
        _apply(content, override)
    return validate(Recipe, content, RecipeError, f"{path} breaks the recipe's rules:")


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
