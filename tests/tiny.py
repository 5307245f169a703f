"""A small TorchScript model with Marina's own handler, in place of a trained one."""

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
IMAGE_SECTION = {"resize": 20, "crop": 16, "mean": [0.5] * 3, "std": [0.25] * 3}


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3 * 16 * 16, len(LABELS))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.flatten(1))


def stage(folder: Path, off_by: float = 0.0) -> Path:
    """Lay out what an archive holds; ``off_by`` is what its golden image claims too much."""
    torch.manual_seed(0)
    model = Tiny().eval()
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        scripted = torch.jit.script(model)
    scripted.save(str(folder / "model.pt"))
    names = {str(index): label for index, label in enumerate(LABELS)}
    (folder / "index_to_name.json").write_text(json.dumps(names))
    (folder / "golden").mkdir()
    image = encode(quadrants(), "PNG")
    (folder / "golden" / "0.png").write_bytes(image)
    with torch.no_grad():
        logits = model(normalize(load_pixels(image, SPEC)[None], SPEC))[0].tolist()
    logits[1] += off_by
    label = LABELS[logits.index(max(logits))]
    golden = {
        "format": 1,
        "atol": {"cpu": 1e-3, "cuda": 5e-2},
        "images": [{"file": "0.png", "label": label, "logits": logits}],
    }
    (folder / "golden" / "golden.json").write_text(json.dumps(golden))
    return folder


def tiny_archive(
    folder: Path, name: str, version: str = "1.0", *, explanations: bool = False
) -> Path:
    """Write it as ``<name>-<version>.mar``, with the handlers of this checkout."""
    staged = folder / f"staged-{name}-{version}"
    staged.mkdir(parents=True)
    stage(staged)
    model = {"modelName": name, "modelVersion": version, "handler": "marina_entry.py"}
    files = {"serializedFile": "model.pt", "configFile": "model-config.yaml"}
    config = {
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": 4,
        "maxBatchDelay": 5,
        "image": IMAGE_SECTION,
        "handler": {"top_k": 3, "format": "stock", "explanations": explanations},
    }
    mar = folder / f"{name}-{version}.mar"
    with zipfile.ZipFile(mar, "w") as archive:
        manifest = {"runtime": "python", "model": {**model, **files}}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("model-config.yaml", yaml.safe_dump(config))
        archive.write(REPO / "handlers" / "marina_entry.py", "marina_entry.py")
        for source in (REPO / "handlers").glob("*.py"):
            if source.name != "marina_entry.py":
                archive.write(source, f"handlers/{source.name}")
        for each in sorted(staged.rglob("*.*")):
            archive.write(each, str(each.relative_to(staged)))
    return mar
