"""Golden images: real ones with the lab's logits, replayed by each worker before it serves."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from marina.files import whole_folder

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from marina.train.dataset import Split

GOLDEN_IMAGES = 8
# What a device may differ by: a GPU computes convolutions in TF32 unless told otherwise.
ATOL = {"cpu": 1e-3, "cuda": 5e-2}


def write_golden(folder: Path, images: Split, logits: torch.Tensor) -> None:
    """Write a few evenly spaced images and their logits.

    Args:
        folder: Replaced whole.
        images: Images that were evaluated.
        logits: Their logits (images, classes).
    """
    count = len(images.files)
    chosen = sorted({index * count // GOLDEN_IMAGES for index in range(GOLDEN_IMAGES)})
    with whole_folder(folder) as temporary:
        entries = []
        for number, index in enumerate(chosen):
            name = f"{number}{images.files[index].suffix.lower()}"
            shutil.copyfile(images.files[index], temporary / name)
            row = logits[index].tolist()
            entries.append(
                {"file": name, "label": images.labels[row.index(max(row))], "logits": row}
            )
        golden = {"format": 1, "atol": ATOL, "images": entries}
        (temporary / "golden.json").write_text(json.dumps(golden, ensure_ascii=False))
