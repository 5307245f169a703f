"""Which archives of a store may go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from marina.archive.version import precedence
from marina.errors import ArchiveError

if TYPE_CHECKING:
    from marina.archive.store import Entry, ModelStore

STATE = "state.json"  # what `marina serve` shall serve, see marina.serve.state


def superfluous(store: ModelStore, keep: int, name: str | None = None) -> list[Entry]:
    """Find the archives that may go.

    What stays: the highest versions of each model, every version with an alias, and every version
    that ``state.json`` says is served.

    Args:
        store: To look at.
        keep: How many of the highest versions of each model stay.
        name: Of the one model to look at; None looks at all.

    Raises:
        ArchiveError: The index or ``state.json`` cannot be read.
    """
    index, served = store.read(), _served(store)
    found: list[Entry] = []
    for model in sorted({entry.name for entry in index.entries}):
        if name not in {None, model}:
            continue
        ordered = sorted(
            (entry for entry in index.entries if entry.name == model),
            key=lambda entry: precedence(entry.version),
            reverse=True,
        )
        found += [
            entry
            for entry in ordered[keep:]
            if not index.aliases_of(entry) and (model, entry.version) not in served
        ]
    return found


def _served(store: ModelStore) -> set[tuple[str, str]]:
    """Say what the store's server serves, or shall serve when it starts again."""
    file = store.folder / STATE
    try:
        models = json.loads(file.read_text())["models"]
        return {(name, version) for name, model in models.items() for version in model["versions"]}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise ArchiveError(
            f"cannot tell from {file} what is served ({err}), and removes nothing: see "
            "`marina serve --help` about a damaged state"
        ) from err
