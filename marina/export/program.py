"""Export with `torch.export` to ``.pt2``, TorchScript's successor; the batch size stays free."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import torch
from torch.export import Dim

from marina.errors import ExportError
from marina.export.metadata import extra_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from marina.train.run import Run

BATCH = {0: Dim("batch", min=1)}


def save(network: nn.Module, example: torch.Tensor, run: Run, file: Path) -> None:
    """Write the exported program.

    Raises:
        ExportError: torch.export cannot follow the network.
    """
    try:
        program = torch.export.export(network, (example,), dynamic_shapes=(BATCH,))
    except RuntimeError as err:
        raise ExportError(
            f"torch.export cannot follow {run.recipe.architecture.name}: {first_line(err)}. "
            "Export it as torchscript or state-dict"
        ) from err
    buffer = BytesIO()  # torch insists on a file's suffix, which a temporary file has not
    torch.export.save(program, buffer, extra_files=extra_files(run))
    file.write_bytes(buffer.getvalue())


def load(file: Path, _: Run) -> Callable[[torch.Tensor], torch.Tensor]:
    """Read the program back."""
    return torch.export.load(BytesIO(file.read_bytes())).module()


def first_line(err: Exception) -> str:
    """Give the first line of an error that goes on for pages."""
    return str(err).strip().partition("\n")[0]
