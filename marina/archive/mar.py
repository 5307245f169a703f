"""The ``.mar``: built by torch-model-archiver from a staged folder, then zipped reproducibly.

The archiver stamps the time into its manifest and into each zip entry, names the file without
its version, and stages below a fixed name in the temporary folder. So it is run on a private
temporary folder and asked for a folder, whose manifest gets the run's own time and which is then
zipped here in sorted order with fixed entry times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from marina.errors import ArchiveError

MANIFEST = "MAR-INF/MANIFEST.json"
# The earliest time that a zip entry can carry (APPNOTE 4.4.6).
_ENTRY_TIME = (1980, 1, 1, 0, 0, 0)


def build(name: str, version: str, staged: Path, model: str, created: str, scratch: Path) -> Path:
    """Build the archive's content with torch-model-archiver.

    Args:
        name: Of the model.
        version: Of the model.
        staged: Folder with the model, ``marina_entry.py``, ``model-config.yaml`` and, in
            ``extra/``, everything else as it shall lie in the archive.
        model: Name of the model's file.
        created: What the manifest says of its making.
        scratch: An empty folder to work in.

    Returns:
        The folder to zip.

    Raises:
        ArchiveError: torch-model-archiver failed; the message holds its last line.
    """
    out, temporary = scratch / "out", scratch / "tmp"
    out.mkdir()
    temporary.mkdir()
    command = [
        *(sys.executable, "-m", "model_archiver.model_packaging"),
        *("--model-name", name),
        *("--version", version),
        *("--serialized-file", str(staged / model)),
        *("--handler", str(staged / "marina_entry.py")),
        *("--config-file", str(staged / "model-config.yaml")),
        *("--extra-files", str(staged / "extra")),
        *("--export-path", str(out)),
        *("--archive-format", "no-archive"),
    ]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    content = out / name
    if done.returncode != 0 or not (content / MANIFEST).is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise ArchiveError(f"torch-model-archiver failed: {lines[-1]}")
    manifest = json.loads((content / MANIFEST).read_text())
    manifest["createdOn"] = created
    (content / MANIFEST).write_text(json.dumps(manifest, indent=2))
    return content


def zip_reproducibly(folder: Path, file: Path) -> None:
    """Zip a folder so that the same content gives the same bytes.

    Entries are stored, not deflated: weights hardly shrink, and deflate's output depends on the
    version of zlib.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _ENTRY_TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
