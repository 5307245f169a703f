"""Grafana's dashboards are what their code writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from .promql import DASHBOARDS, REPO


def test_the_dashboards_are_what_the_code_writes(tmp_path: Path) -> None:
    program = REPO / "scripts" / "dashboards" / "run.py"
    subprocess.run([sys.executable, str(program), str(tmp_path)], check=True)
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    kept = {file.name: file.read_text() for file in DASHBOARDS.iterdir()}
    assert set(written) == {"overview.json", "rollout.json", "worker.json"}
    assert written == kept, (
        f"run: python {program.relative_to(REPO)} {DASHBOARDS.relative_to(REPO)}"
    )


def test_each_panel_asks_the_provisioned_source() -> None:
    provisioning = REPO / "docker" / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    for file in DASHBOARDS.iterdir():
        dashboard = json.loads(file.read_text())
        assert dashboard["templating"]["list"][0]["type"] == "datasource"
        panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
        assert panels
        for panel in panels:
            assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
            assert panel["targets"]
            ids = [target["refId"] for target in panel["targets"]]
            assert len(ids) == len(set(ids))
