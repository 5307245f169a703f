"""Export to TorchScript: traced in evaluation mode, proved on real images, then written.

The module is saved unfrozen: freezing turns weights into constants of the device at hand. The
handler freezes it on its own device when it loads it.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from handlers.preprocess import normalize
from marina.errors import DataError
from marina.export.golden import write_golden
from marina.export.parity import Parity, check_parity
from marina.files import sha256_file, whole_file, write_whole
from marina.train.dataset import Split, read_split
from marina.train.evaluation import infer

if TYPE_CHECKING:
    from torch import nn

    from marina.recipe import Recipe
    from marina.train.run import Run

PARITY_IMAGES = 256


def export(run: Run, out: Path | None = None) -> Parity:
    """Write ``model.pt``, ``parity.json`` beside it, and the run's golden images.

    Args:
        run: A finished run.
        out: Where to put the model instead of the run's own folder.

    Raises:
        ParityError: TorchScript answers differently; no model is written.
        DataError: There are no images to prove it on.
    """
    out = out or run.model
    images = some_images(run.recipe)
    network = run.load_network()
    logits = infer(network, images, run.recipe)  # (images, classes)
    with whole_file(out) as file:
        with quiet_torchscript():
            torch.jit.save(trace(network, run.recipe), file)
        reloaded = load_as_served(file)
        parity = check_parity(logits, infer(reloaded, images, run.recipe))
    record = {
        **parity.as_dict(),
        "model_sha256": sha256_file(out),
        "checkpoint_sha256": sha256_file(run.checkpoint),
    }
    write_whole(out.parent / "parity.json", json.dumps(record, indent=2))
    write_golden(run.folder / "golden", images, logits)
    return parity


def is_exported(run: Run) -> bool:
    """Tell whether the run's model and golden images are those of its checkpoint."""
    try:
        parity = json.loads((run.folder / "parity.json").read_text())
        return bool(
            parity["checkpoint_sha256"] == sha256_file(run.checkpoint)
            and parity["model_sha256"] == sha256_file(run.model)
            and (run.folder / "golden" / "golden.json").is_file()
        )
    except (OSError, ValueError, KeyError):
        return False


def some_images(recipe: Recipe) -> Split:
    """Give test images, evenly spaced so that every class has its share.

    Raises:
        DataError: The test split is empty.
    """
    split = read_split(recipe.data, "test")
    if not split.files:
        raise DataError(f"{recipe.name} has no test images to prove parity on")
    count = len(split.files)
    chosen = [index * count // PARITY_IMAGES for index in range(PARITY_IMAGES)]
    chosen = sorted(set(chosen))  # fewer images than asked for: each one once
    return Split(
        split.root,
        split.labels,
        tuple(split.files[index] for index in chosen),
        tuple(split.targets[index] for index in chosen),
    )


def trace(network: nn.Module, recipe: Recipe) -> torch.jit.ScriptModule:
    """Trace the network on a batch of two; the batch size stays free."""
    crop = recipe.image.crop
    blank = torch.zeros(2, recipe.image.channels, crop, crop, dtype=torch.uint8)  # (N, C, H, W)
    with quiet_torchscript(), torch.inference_mode(False), torch.no_grad():
        traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            network, normalize(blank, recipe.image)
        )
    return traced


def load_as_served(file: Path) -> torch.jit.ScriptModule:
    """Load TorchScript on the CPU and freeze it, as the handler does."""
    with quiet_torchscript():
        module: torch.jit.ScriptModule = torch.jit.freeze(
            torch.jit.load(file, "cpu").eval()  # type: ignore[no-untyped-call]
        )
    return module


def quiet_torchscript() -> warnings.catch_warnings[None]:
    """Leave out torch's notice that TorchScript has a successor: TorchServe reads nothing else."""
    return warnings.catch_warnings(action="ignore", category=FutureWarning)
