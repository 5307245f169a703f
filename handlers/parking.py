"""Parking: how a worker that is to be taken away is kept from taking requests.

TorchServe scales a version down by killing its last workers with whatever batch they hold
(``WorkLoadManager.modelChanged``, ``WorkerThread.shutdown``). So the server, see
``marina.serve.parking``, first has them hold a request of its own: a DESCRIBE, the one command that
TorchServe gives to any worker and never puts into a batch with others (``Model.pollBatch``).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from handlers.context import Context

# Names the folder in which a server asks for parking; unset where there is no such server.
VARIABLE = "MARINA_PARKING"

_POLL_S = 0.01


def lot_of(folder: Path, name: str, version: str) -> Path:
    """Give the folder that is there as long as workers of a version shall park."""
    return folder / quote(f"{name}-{version}", safe="")


def park(context: Context, version: str, requests: int) -> bool:
    """Hold the request at hand for as long as the server wants.

    The worker says so with a file that is named after its process.

    Args:
        context: Of the batch.
        version: Of the model.
        requests: In the batch.

    Returns:
        Whether it was held. Then it is the server's own, and any answer will do.
    """
    folder = os.environ.get(VARIABLE)
    if folder is None or requests != 1 or context.get_all_request_header(0).get("describe") is None:
        return False
    lot = lot_of(Path(folder), context.model_name, version)
    try:
        (lot / str(os.getpid())).touch()
    except FileNotFoundError:
        return False
    while lot.exists():
        time.sleep(_POLL_S)
    return True
