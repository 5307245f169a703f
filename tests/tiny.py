"""An archive of Marina's own handlers, with a model that needs no training."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

import torch
import yaml
from pictures import encode, quadrants

from handlers.image_spec import ImageSpec
from handlers.preprocess import load_pixels, normalize

REPO = Path(__file__).parents[1]
LABELS = ["red", "green", "blue", "dark", "bright"]
SPEC = ImageSpec(20, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3 * 16 * 16, len(LABELS))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.flatten(1))


def tiny_archive(folder: Path, name: str, *, explanations: bool) -> Path:
    """Write it as ``<name>-1.0.mar``."""
    torch.manual_seed(0)
    network = Tiny().eval()
    image = encode(quadrants(), "PNG")
    with torch.no_grad():
        logits = network(normalize(load_pixels(image, SPEC)[None], SPEC))[0].tolist()
    golden = {
        "format": 1,
        "atol": {"cpu": 1e-3, "cuda": 5e-2},
        "images": [{"file": "0.png", "label": LABELS[logits.index(max(logits))], "logits": logits}],
    }
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.jit.script(network).save(str(folder / "model.pt"))
    model = {"modelName": name, "modelVersion": "1.0", "handler": "marina_entry.py"}
    files = {"serializedFile": "model.pt", "configFile": "model-config.yaml"}
    config = {
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": 4,
        "maxBatchDelay": 5,
        "image": {"resize": 20, "crop": 16, "mean": [0.5] * 3, "std": [0.25] * 3},
        "handler": {"top_k": 3, "format": "stock", "explanations": explanations},
    }
    mar = folder / f"{name}-1.0.mar"
    with zipfile.ZipFile(mar, "w") as archive:
        manifest = {"runtime": "python", "model": {**model, **files}}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.write(folder / "model.pt", "model.pt")
        archive.writestr("model-config.yaml", yaml.safe_dump(config))
        archive.writestr("index_to_name.json", json.dumps(dict(enumerate(LABELS))))
        archive.writestr("golden/golden.json", json.dumps(golden))
        archive.writestr("golden/0.png", image)
        archive.write(REPO / "handlers" / "marina_entry.py", "marina_entry.py")
        for source in (REPO / "handlers").glob("*.py"):
            if source.name != "marina_entry.py":
                archive.write(source, f"handlers/{source.name}")
    return mar
