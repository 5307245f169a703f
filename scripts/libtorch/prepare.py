"""Write an image as the tensor that a model expects, and print Python's own answer to it.

    python scripts/libtorch/prepare.py runs/resnet/<run>/model.pt digit.png image.pt
    build/libtorch/classify runs/resnet/<run>/model.pt image.pt

The image spec, the labels and the temperature are those that the model carries.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import torch

from handlers.image_spec import ImageSpec
from handlers.preprocess import load_pixels, normalize


def main() -> None:
    """Read the model and the image, write the tensor, print index, probability and label."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()

    extra = {"marina.json": ""}
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        model = torch.jit.load(given.model, "cpu", _extra_files=extra)
    about = json.loads(extra["marina.json"])
    spec = ImageSpec.from_mapping(about["image"])
    image = normalize(load_pixels(given.image.read_bytes(), spec)[None], spec)  # (1, C, crop, crop)
    torch.save(image.contiguous(), given.out)
    with torch.inference_mode():
        probabilities = (model(image) / about["temperature"]).softmax(1)[0]  # (classes,)
    index = int(probabilities.argmax())
    print(f"{index}\t{float(probabilities[index]):.9g}\t{about['labels'][index]}")


if __name__ == "__main__":
    main()
