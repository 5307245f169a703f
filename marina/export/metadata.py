"""What every export carries beside the weights: labels, image spec, temperature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marina.train.run import Run

KEY = "marina"  # ONNX's metadata and a state dict hold the document under this key
FORMAT = 1


def metadata(run: Run, *, normalizes: bool = False) -> str:
    """Give the document as JSON: all that a program needs to use the model rightly.

    Args:
        run: Whose model it is.
        normalizes: Whether the model normalizes its images itself.
    """
    recipe = run.recipe
    return json.dumps(
        {
            "format": FORMAT,
            "name": recipe.name,
            "labels": list(run.labels),
            "image": recipe.image.as_dict(),
            "temperature": run.temperature,
            "architecture": recipe.architecture.model_dump(mode="json"),
            "input": (
                "uint8 (N, C, crop, crop)"
                if normalizes
                else "float32 (N, C, crop, crop), normalized as image says"
            ),
            "output": "float32 (N, classes): logits; softmax of logits / temperature",
        },
        ensure_ascii=False,
    )


def extra_files(run: Run) -> dict[str, str]:
    """Give the files that TorchScript and pt2 hold inside; the plain ones need no JSON reader."""
    return {
        f"{KEY}.json": metadata(run),
        "labels.txt": "\n".join(run.labels),
        "temperature.txt": repr(run.temperature),
    }
