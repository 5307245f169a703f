"""Golden images: real ones with the lab's logits, replayed by each worker before it serves."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from marina.files import whole_folder

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from marina.export.parity import Parity
    from marina.train.dataset import Split

GOLDEN_IMAGES = 8
# What a device may differ by: a GPU computes convolutions in TF32 unless told otherwise.
ATOL = {"cpu": 1e-3, "cuda": 5e-2}


def chosen(images: Split) -> list[int]:
    """Choose evenly spaced images, by index."""
    count = len(images.files)
    return sorted({index * count // GOLDEN_IMAGES for index in range(GOLDEN_IMAGES)})


def write_golden(
    folder: Path, images: Split, logits: torch.Tensor, parity: Parity, worker_difference: float
) -> None:
    """Write a few evenly spaced images and the exported model's logits.

    Args:
        folder: Replaced whole.
        images: Images that were evaluated.
        logits: Their logits (images, classes).
        parity: How near they are to the network's. On another processor, a precision other than
            fp32 may give what is as far from the lab's as it was from fp32 there.
        worker_difference: By how much these logits moved with a worker's threads and batch sizes.
    """
    noise = worker_difference
    if parity.precision != "fp32":
        noise = max(noise, parity.max_abs_logit_difference)
    atol = {device: max(least, noise) for device, least in ATOL.items()}
    with whole_folder(folder) as temporary:
        entries = []
        for number, index in enumerate(chosen(images)):
            name = f"{number}{images.files[index].suffix.lower()}"
            shutil.copyfile(images.files[index], temporary / name)
            row = logits[index].tolist()
            entries.append(
                {"file": name, "label": images.labels[row.index(max(row))], "logits": row}
            )
        golden = {"format": 1, "atol": atol, "images": entries}
        (temporary / "golden.json").write_text(json.dumps(golden, ensure_ascii=False))
