"""Archiving: an exported run becomes ``<name>-<version>.mar`` and a line of the store's index."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from handlers.backend import needs_cpu
from marina.archive.check import MODEL_VERSION
from marina.archive.mar import build, zip_reproducibly
from marina.archive.store import Entry, ModelStore
from marina.errors import ArchiveError
from marina.files import sha256_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from marina.train.run import Run


def archive(
    run: Run,
    version: str,
    store: ModelStore,
    *,
    force: bool = False,
    key: Ed25519PrivateKey | None = None,
) -> Entry:
    """Archive an exported run.

    Two builds of the same run, version and handlers are byte-identical. Builds may run side by
    side: each works in a folder of its own, and the store's index is changed under a lock.

    Raises:
        ArchiveError: The version is not one, the archive is there already and ``force`` is not
            set, or torch-model-archiver failed.
    """
    if not MODEL_VERSION.fullmatch(version):
        raise ArchiveError(f"a version is letters, digits, . _ + - (such as 1.0), not {version!r}")
    name = run.recipe.name
    store.refuse_overwrite(name, version, force=force)
    with tempfile.TemporaryDirectory(prefix="marina-archive-") as folder:
        scratch = Path(folder)
        stage(run, scratch / "staged")
        content = build(
            name, version, scratch / "staged", run.model.name, run.metrics["finished"], scratch
        )
        _write_provenance(run, version, content)
        archived = scratch / "archive.mar"
        zip_reproducibly(content, archived)
        return store.add(archived, name, version, source_run(run), force=force, key=key)


def stage(run: Run, folder: Path) -> None:
    """Lay out what torch-model-archiver packs."""
    handlers = _handlers_folder()
    extra = folder / "extra"
    extra.mkdir(parents=True)
    shutil.copyfile(run.model, folder / run.model.name)
    shutil.copyfile(handlers / "marina_entry.py", folder / "marina_entry.py")
    (folder / "model-config.yaml").write_text(model_config(run))
    (extra / "handlers").mkdir()
    for source in sorted(handlers.glob("*.py")):
        if source.name != "marina_entry.py":
            shutil.copyfile(source, extra / "handlers" / source.name)
    names = {str(index): label for index, label in enumerate(run.labels)}
    (extra / "index_to_name.json").write_text(json.dumps(names, indent=2, ensure_ascii=False))
    shutil.copytree(run.folder / "golden", extra / "golden")


def model_config(run: Run) -> str:
    """Give ``model-config.yaml``: TorchServe's own keys, then the handler's."""
    recipe = run.recipe
    serve = recipe.serve
    parity = json.loads((run.folder / "parity.json").read_text())
    config = {
        # Without these TorchServe starts one worker per core that its own cgroup has.
        **({"minWorkers": serve.workers, "maxWorkers": serve.workers} if serve.workers else {}),
        "batchSize": serve.batch_size,
        "maxBatchDelay": serve.max_batch_delay_ms,
        "jobQueueSize": serve.queue_size,
        "responseTimeout": serve.response_timeout_s,
        "startupTimeout": serve.startup_timeout_s,
        # Without it TorchServe gives every worker a GPU where it finds one.
        **({"deviceType": "cpu"} if needs_cpu(serve.backend, serve.precision) else {}),
        "image": recipe.model_dump(mode="json")["image"],
        "handler": {
            "top_k": serve.top_k,
            "format": serve.format,
            "temperature": run.temperature,
            "threads": serve.threads,
            "precision": serve.precision,
            "backend": serve.backend,
            "fusion": parity["fusion"],
            "winograd": parity["winograd"] == "proved",
            "spread": serve.spread,
            "gpu_decode": serve.gpu_decode,
            "graphs": serve.graphs,
            "explanations": serve.explanations,
            **recipe.model_dump(mode="json")["serve"]["limits"],
        },
    }
    return yaml.safe_dump(config, sort_keys=False)


def source_run(run: Run) -> str:
    """Name the run as ``<name>/<timestamp>``, without the rest of its path."""
    return "/".join(run.folder.resolve().parts[-2:])


def _write_provenance(run: Run, version: str, content: Path) -> None:
    """Say where the archive comes from, and the digest of each of its other files."""
    files = sorted(path for path in content.rglob("*") if path.is_file())
    provenance: dict[str, Any] = {
        "name": run.recipe.name,
        "version": version,
        "created": run.metrics["finished"],
        "source_run": source_run(run),
        "recipe_sha256": hashlib.sha256(run.recipe_file.read_bytes()).hexdigest(),
        "dataset_sha256": run.metrics["dataset"]["sha256"],
        "evaluation": run.metrics["test"],
        "parity": json.loads((run.folder / "parity.json").read_text()),
        "environment": run.metrics["environment"],
        "recipe": run.recipe.model_dump(mode="json"),
        "files": {path.relative_to(content).as_posix(): sha256_file(path) for path in files},
    }
    (content / "provenance.json").write_text(json.dumps(provenance, indent=2, ensure_ascii=False))


def _handlers_folder() -> Path:
    spec = find_spec("handlers")
    if spec is None or spec.origin is None:
        raise ArchiveError("the handlers package is not installed beside marina: run `uv sync`")
    return Path(spec.origin).parent
