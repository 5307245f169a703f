"""Manifests against the pinned schemas in tests/k8s/schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

FOLDER = Path(__file__).parent / "schemas"


@cache
def validators() -> dict[str, jsonschema.protocols.Validator]:
    """A validator per "group/version/Kind"."""
    found = {}
    for file in FOLDER.glob("*.json"):
        content = json.loads(file.read_text())
        for kind, schema in content["kinds"].items():
            whole = {**schema, "$defs": content["$defs"]}
            found[kind] = jsonschema.Draft202012Validator(whole)
    return found


def kind_of(manifest: dict[str, Any]) -> str:
    return f"{manifest['apiVersion']}/{manifest['kind']}"


def faults(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest; a kind without a schema is a fault."""
    validator = validators().get(kind_of(manifest))
    if validator is None:
        return [f"no schema for {kind_of(manifest)}"]
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


def read(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every manifest below a folder, with its file."""
    for file in sorted(folder.rglob("*.yaml")):
        for manifest in yaml.safe_load_all(file.read_text()):
            yield file.relative_to(folder), manifest
