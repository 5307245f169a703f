"""The ``marina`` command: verbs only. Each hands over to the library and shows what came back.

Results go to stdout, progress and messages to stderr. Imports stand in the verbs, so that
``marina --help`` and the verbs that need no torch start at once.
"""

from __future__ import annotations

import sys

from rich.markup import escape

from marina.cli import (  # noqa: F401 - they hang their verbs on app
    archives,
    bench,
    data,
    demo,
    kubernetes,
    lab,
    machine,
    models,
    page,
    rollouts,
    runs,
    serving,
    shipping,
    split,
    store,
    top,
    understanding,
)
from marina.cli.app import app
from marina.errors import MarinaError
from marina.progress import console

__all__ = ["app", "main"]


def main() -> None:
    """Run the command; an error of ours ends with its one-line cause and its own exit code."""
    try:
        app()
    except MarinaError as err:
        console.print(f"[bold red]error:[/] {escape(str(err))}", highlight=False, soft_wrap=True)
        details = getattr(err, "details", "")
        if details:
            console.print(details, markup=False, highlight=False, soft_wrap=True)
        sys.exit(err.exit_code)
