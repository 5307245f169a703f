"""Where results go: stdout. Progress and messages go to stderr (marina/progress.py)."""

from __future__ import annotations

from rich.console import Console

output = Console()
