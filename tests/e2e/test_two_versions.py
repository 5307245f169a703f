"""Two versions of one model, served at once, each with its own handler code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import requests
from conftest import REPO

import marina.archive.archive as archiving
from marina.archive.archive import archive
from marina.archive.store import ModelStore
from marina.export.torchscript import export
from marina.serve import ServeConfig, resolve, running
from marina.train.run import Run

pytestmark = pytest.mark.slow


def test_each_version_runs_the_code_in_its_own_archive(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(quick_run)
    store = ModelStore(tmp_path / "store")
    archive(quick_run, "1.0", store)
    newer = tmp_path / "handlers"
    shutil.copytree(REPO / "handlers", newer)
    answer = newer / "answer.py"
    code = answer.read_text()
    assert '"model": model' in code
    answer.write_text(code.replace('"model": model', '"model": model.upper()'))
    monkeypatch.setattr(archiving, "_handlers_folder", lambda: newer)
    archive(quick_run, "2.0", store)

    config = ServeConfig.on_free_ports(store.folder)
    image = (REPO / "digit.png").read_bytes()
    with running(config, resolve([], store.folder), log_dir=tmp_path / "logs") as server:
        for version, name in [("1.0", "resnet"), ("2.0", "RESNET")] * 2:
            response = requests.post(
                f"{server.rest_url}/predictions/resnet/{version}",
                data=image,
                headers={"X-Marina-Format": "detailed", "Content-Type": "image/png"},
                timeout=60,
            )
            said = json.loads(response.content)
            assert [said["model"], said["version"]] == [name, version]
