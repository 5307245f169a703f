"""Imports go one way: handlers ← train, export ← archive ← serve ← rollout, bench ← cli."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
FOUNDATION = {"errors", "files", "progress", "recipe"}
MAY_IMPORT = {
    "client": {"errors"},
    "gateway": {"child", "errors", "files"},
    "train": FOUNDATION,
    "evaluation": FOUNDATION | {"train"},
    "understanding": FOUNDATION | {"train", "evaluation"},
    "export": FOUNDATION | {"train"},
    "archive": FOUNDATION | {"train", "export"},
    "serve": FOUNDATION | {"archive", "child", "client", "gateway", "httpd"},
    "bench": FOUNDATION | {"archive", "client", "export", "predict", "serve", "train"},
    "rollout": FOUNDATION | {"archive", "client", "gateway", "serve"},
    "bundle": FOUNDATION | {"archive", "serve"},
    "k8s": FOUNDATION | {"rollout"},
}
HANDLER_PACKAGES = {"torch", "torchvision", "PIL", "ts", "handlers"}


def imported(file: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms(names: set[str]) -> set[str]:
    """The rooms of marina among dotted names."""
    inside = {name.split(".")[1] for name in names if name.startswith("marina.")}
    return {room for room in inside if (REPO / "marina" / room).exists()} | {
        room for room in inside if (REPO / "marina" / f"{room}.py").exists()
    }


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    files = list((REPO / "marina" / room).rglob("*.py"))
    assert files
    for file in files:
        assert rooms(imported(file)) <= MAY_IMPORT[room] | {room}, file


def test_handlers_import_only_what_a_worker_has() -> None:
    import sys

    for file in (REPO / "handlers").glob("*.py"):
        tops = {name.split(".")[0] for name in imported(file)}
        assert tops <= HANDLER_PACKAGES | sys.stdlib_module_names, file


def test_the_client_imports_no_handlers() -> None:
    for file in (REPO / "marina" / "client").rglob("*.py"):
        assert not any(name.startswith("handlers") for name in imported(file)), file
