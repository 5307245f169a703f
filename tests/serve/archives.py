"""Archives for the tests: the stub handler with a golden image, and ways to spoil them."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import yaml

from handlers import parking
from marina.archive.store import ModelStore

HANDLER = Path(__file__).with_name("stub_handler.py")
PARKING = Path(parking.__file__)
GOLDEN = b"a golden image"
LOGITS = (0.5, 3.0, -1.0)


def make_archive(
    folder: Path,
    version: str = "1.0",
    *,
    name: str = "stub",
    handler: str | None = None,
    golden_logits: tuple[float, ...] = LOGITS,
    stub: dict[str, Any] | None = None,
    runtime: str = "python",
    **config: Any,
) -> Path:
    """Write an archive as ``<name>-<version>.mar``.

    Args:
        folder: Where to.
        version: Of the model.
        name: Of the model.
        handler: Source of the handler instead of the stub's.
        golden_logits: What the archive claims that the lab answered.
        stub: What the stub shall do, see ``stub_handler.py``.
        runtime: What TorchServe shall run the handler with.
        config: Further keys of ``model-config.yaml``.
    """
    workers = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 1, "maxBatchDelay": 1}
    settings = {**workers, **config, "stub": {"logits": list(LOGITS), **(stub or {})}}
    manifest = {
        "createdOn": "2026-01-01T00:00:00Z",
        "runtime": runtime,
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": name,
            "modelVersion": version,
            "handler": "entry.py",
            "configFile": "model-config.yaml",
        },
    }
    best = golden_logits.index(max(golden_logits))
    image = {"file": "0.png", "label": f"class {best}", "logits": list(golden_logits)}
    golden = {"format": 1, "atol": {"cpu": 1e-3}, "images": [image]}
    file = folder / f"{name}-{version}.mar"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("entry.py", handler or HANDLER.read_text())
        if handler is None:
            archive.writestr("handlers/__init__.py", "")
            archive.write(PARKING, "handlers/parking.py")
        archive.writestr("model-config.yaml", yaml.safe_dump(settings))
        archive.writestr("golden/golden.json", json.dumps(golden))
        archive.writestr("golden/0.png", GOLDEN)
    return file


def put_into_store(folder: Path, version: str, **archive: Any) -> None:
    """Make an archive and list it in the store's index."""
    made = folder / "made"
    made.mkdir(parents=True, exist_ok=True)
    file = make_archive(made, version, **archive)
    ModelStore(folder).add(file, "stub", version, "stub/run", force=True)
    shutil.rmtree(made)
