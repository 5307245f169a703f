from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from handlers.image_spec import ImageSpec
from handlers.preprocess import load_pixels, normalize
from marina.cli import app
from marina.errors import ExportError, ParityError
from marina.export import writers
from marina.export.format import Format
from marina.export.precision import quiet_torch
from marina.export.writers import export
from marina.recipe import read_recipe
from marina.train.dataset import read_split
from marina.train.run import Run


@pytest.fixture(scope="module")
def run(quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy that may be changed, with a temperature."""
    folder = tmp_path_factory.mktemp("run") / "run"
    folder.mkdir()
    for name in ("checkpoint.pt", "recipe.yaml", "labels.json", "metrics.json"):
        shutil.copy(quick_run.folder / name, folder)
    copy = Run(folder)
    copy.save_temperature(1.5)
    return copy


def carried(kind: Format, file: Path) -> dict[str, Any]:
    """Read the metadata as a program without Marina would."""
    extra = {"marina.json": ""}
    if kind is Format.torchscript:
        with quiet_torch():
            torch.jit.load(file, _extra_files=extra)
    elif kind is Format.pt2:
        torch.export.load(BytesIO(file.read_bytes()), extra_files=extra)
    elif kind is Format.onnx:
        import onnx

        extra["marina.json"] = {p.key: p.value for p in onnx.load(file).metadata_props}["marina"]
    else:
        extra["marina.json"] = torch.load(file, weights_only=True)["marina"]
    said: dict[str, Any] = json.loads(extra["marina.json"])
    return said


@pytest.mark.parametrize("kind", Format)
def test_each_format_answers_as_the_network_and_says_what_it_is(run: Run, kind: Format) -> None:
    done = CliRunner().invoke(app, ["export", str(run.folder), "--format", kind.value])
    assert done.exit_code == 0, done.output
    file = Path(done.stdout.strip().splitlines()[-1])
    name = "parity.json" if kind is Format.torchscript else f"parity-{kind}.json"
    parity = json.loads((run.folder / name).read_text())
    assert parity["images"] == 359
    assert parity["top1_agreement"] == 1.0
    assert parity["max_abs_logit_difference"] < 1e-3
    about = carried(kind, file)
    assert about["labels"] == list("0123456789")
    assert ImageSpec.from_mapping(about["image"]) == run.recipe.image
    assert about["temperature"] == parity["temperature"] == 1.5


def test_onnx_takes_any_batch_size(run: Run, tmp_path: Path) -> None:
    network, writer = run.load_network(), writers.WRITERS[Format.onnx]
    writer.save(network, writers.example(run), run, tmp_path / "model.onnx")
    answer = writer.load(tmp_path / "model.onnx", run)
    files = read_split(run.recipe.data, "val").files
    for batch in (1, 3):
        pixels = torch.stack([load_pixels(f.read_bytes(), run.recipe.image) for f in files[:batch]])
        images = normalize(pixels, run.recipe.image)
        with torch.inference_mode():
            torch.testing.assert_close(answer(images), network(images), atol=1e-3, rtol=0)


def test_a_state_dict_starts_the_next_training(run: Run, tmp_path: Path) -> None:
    from marina.train.architecture import build

    writer = writers.WRITERS[Format.state_dict]
    writer.save(run.load_network(), writers.example(run), run, tmp_path / "weights.pt")
    recipe = read_recipe(run.recipe_file, (f"architecture.weights_file={tmp_path / 'weights.pt'}",))
    network = build(recipe.architecture, 10, 1)
    expected = run.load_network().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("kind", [Format.state_dict, Format.onnx])
def test_what_answers_otherwise_is_not_kept(
    run: Run, kind: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = run.load_network()
    with torch.no_grad():
        network.fc.bias[3] += 0.01  # type: ignore[union-attr, operator, index]
    writer = writers.WRITERS[kind]
    wrong = writers.Writer(writer.file, lambda _, *rest: writer.save(network, *rest), writer.load)
    monkeypatch.setitem(writers.WRITERS, kind, wrong)
    with pytest.raises(ParityError, match=r"logits differ by up to 0\.01"):
        export(run, kind, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_followed_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Branching(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scale = 1.0 if images.sum() > 0 else 2.0
            return images.flatten(1)[:, :10] * scale

    monkeypatch.setattr(Run, "load_network", lambda _: Branching().eval())
    for kind in (Format.pt2, Format.onnx):
        with pytest.raises(ExportError, match="resnet18"):
            export(run, kind, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_onnx_without_its_extra_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marina.export.onnx.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"needs onnx, onnxscript, onnxruntime.*--extra onnx"):
        export(run, Format.onnx, tmp_path / "model.onnx")
