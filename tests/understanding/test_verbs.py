from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from marina.cli import app
from marina.errors import DataError
from marina.train.dataset import read_split
from marina.train.run import Run


def test_a_summary(quick_run: Run) -> None:
    shown = CliRunner().invoke(app, ["summary", str(quick_run.folder)], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert "layer4.1.conv2" in shown.stdout
    assert "GFLOPs forward" in shown.stdout


def test_explanations_of_images(quick_run: Run, tmp_path: Path) -> None:
    files = [str(file) for file in read_split(quick_run.recipe.data, "test").files[:2]]
    command = ["explain", str(quick_run.folder), *files, "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [entry["file"] for entry in said] == files
    for number, entry in enumerate(said):
        assert entry["label"] in quick_run.labels
        methods = ["grad-cam", "integrated-gradients", "feature-maps"]
        assert list(entry["pictures"]) == methods
        for method, name in entry["pictures"].items():
            assert Path(name).name == f"{number:03}-{Path(entry['file']).stem}-{method}.png"
            with Image.open(name) as image:
                assert min(image.size) > 200
                assert len(image.convert("RGB").getcolors(1 << 20) or range(99)) > 50

    only = [*command, "--method", "grad-cam", "--layer", "layer2.0.conv1"]
    (first, _) = json.loads(CliRunner().invoke(app, only).stdout)
    assert list(first["pictures"]) == ["grad-cam"]


def test_what_is_no_image_is_named(quick_run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = CliRunner().invoke(app, ["explain", str(quick_run.folder), str(bad)])
    assert isinstance(done.exception, DataError)
    assert "bad.png" in str(done.exception)


@pytest.mark.parametrize("mode", [[], ["--train"]])
def test_a_profile_has_a_table_and_a_trace(quick_run: Run, tmp_path: Path, mode: list[str]) -> None:
    trace = tmp_path / "trace.json"
    command = ["profile", str(quick_run.folder), "--batch-size", "2", "--steps", "2"]
    done = CliRunner().invoke(app, [*command, "--trace", str(trace), "--json", *mode])
    assert done.exit_code == 0, done.output
    operations = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert operations["aten::conv2d"]["calls"] == 2 * 20  # ResNet-18 has 20 convolutions
    assert sum(entry["share"] for entry in operations.values()) == pytest.approx(1)
    assert any("ConvolutionBackward" in name for name in operations) == bool(mode)
    events = json.loads(trace.read_text())["traceEvents"]
    assert any(event.get("name") == "aten::conv2d" for event in events)
