"""Is the split real: what the gateway's access log shows, held against what was declared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from marina.errors import SplitError
from marina.gateway import Split, read_log, read_splits
from marina.gateway.access_log import FILE
from marina.rollout.split import SplitCheck, verify_split


def verify_logged_split(log_dir: Path, model: str) -> SplitCheck:
    """Check whether a model's requests since its split's last change went as declared.

    Args:
        log_dir: The server's folder, with ``splits.json`` and ``gateway.log``.
        model: Its name.

    Raises:
        SplitError: The model has no split.
    """
    split = read_splits(log_dir).get(model)
    if split is None:
        raise SplitError(f"{model} has no split in {log_dir}: `marina split set` makes one")
    counts = count_arms(read_log(log_dir / FILE), split)
    return verify_split([(split.weights, counts)])


def count_arms(lines: Iterable[Mapping[str, Any]], split: Split) -> Counter[str]:
    """Count what each arm got of the split's own choosing: no forced arm, no copy.

    Where the split is sticky, a user counts once: their requests all go the same way, and a few
    who ask much say nothing of the split.

    Args:
        lines: Of the access log.
        split: Since when, and whose.
    """
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    for line in lines:
        is_ours = line["model"] == split.model and line["kind"] == "split"
        if not is_ours or datetime.fromisoformat(line["time"]).timestamp() < split.since:
            continue
        if line["user"] is not None:
            if line["user"] in seen:
                continue
            seen.add(line["user"])
        counts[line["arm"]] += 1
    return counts
