"""Each backend from a trained run, over its archive, to the worker's own golden check."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_precision import run_with
from torch import nn
from ts.context import RequestProcessor
from ts.service import Service

from handlers import inductor
from handlers.errors import BackendUnavailable, GoldenMismatch
from handlers.image_classifier import ImageClassifier
from marina.archive.archive import archive
from marina.archive.store import ModelStore
from marina.errors import ExportError, RecipeError
from marina.export.backends import can_export
from marina.export.format import Format
from marina.export.torchscript import export, is_exported
from marina.export.writers import export as export_format
from marina.recipe import read_recipe
from marina.train.dataset import read_split
from marina.train.run import Run


class Small(nn.Module):
    """What a resnet is made of, once each: a compiler is soon done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 4 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(images)).relu()  # (N, 8, 16, 16)
        x = nn.functional.adaptive_avg_pool2d(x + self.again(x), 4)  # (N, 8, 4, 4)
        return self.fc(x.flatten(1))


def small() -> nn.Module:
    torch.manual_seed(0)
    network = Small()
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        network.fc.weight.mul_(8)
    return network.eval()


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "load_network", lambda _: small())
    monkeypatch.setattr("marina.export.torchscript.PARITY_IMAGES", 120)


def run_on(run: Run, folder: Path, backend: str, precision: str = "fp32") -> Run:
    return run_with(
        run,
        folder,
        f"serve.backend={backend}",
        f"serve.precision={precision}",
        "serve.max_accuracy_loss=0.1",
        "serve.batch_size=3",
    )


def load(folder: Path, gpu: int | None = None) -> tuple[ImageClassifier, Any]:
    """Load an unpacked archive as TorchServe does."""
    handler = ImageClassifier()
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    service = Service("resnet", str(folder), manifest, handler.handle, gpu, 3, True, None)
    service.context.model_yaml_config = yaml.safe_load((folder / "model-config.yaml").read_text())
    handler.initialize(service.context)
    return handler, service.context


def unpacked(run: Run, folder: Path) -> Path:
    store = ModelStore(folder / "store")
    entry = archive(run, "1.0", store)
    with zipfile.ZipFile(store.folder / entry.file) as content:
        content.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.parametrize(
    ("backend", "precision", "file"),
    [
        ("onnxruntime", "fp32", "served.onnx"),
        ("onnxruntime", "int8", "served.onnx"),
        ("openvino", "fp32", "served.onnx"),
        ("openvino", "bf16", "served.onnx"),
        ("openvino", "int8", "served.onnx"),
        pytest.param("inductor", "fp32", "served.pt2", marks=pytest.mark.slow),
        pytest.param("inductor", "bf16", "served.pt2", marks=pytest.mark.slow),
    ],
)
def test_a_worker_answers_as_the_network_on_each_backend(
    quick_run: Run, tmp_path: Path, backend: str, precision: str, file: str
) -> None:
    run = run_on(quick_run, tmp_path / "run", backend, precision)
    parity = export(run)
    assert is_exported(run)
    assert parity.images == 120
    if precision == "fp32":
        assert parity.top1_agreement == 1.0
        assert parity.max_abs_logit_difference < 1e-3
    else:
        assert parity.top1_agreement > 0.9
        assert parity.max_abs_logit_difference > 1e-4  # it really computes in fewer bits

    folder = unpacked(run, tmp_path)
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    assert manifest["model"]["serializedFile"] == file
    assert not (folder / "model.pt").exists()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["parity"]["backend"] == backend
    assert provenance["parity"]["top1_agreement"] == parity.top1_agreement
    assert provenance["parity"]["accuracy"] == parity.accuracy is not None

    handler, context = load(folder)  # the golden images are answered within
    images = read_split(quick_run.recipe.data, "test").files[:5]
    asked = [{"body": image.read_bytes()} for image in images]
    context.request_processor = [RequestProcessor({}) for _ in asked]
    together = [json.loads(answer) for answer in handler.handle(asked, context)]
    alone = []
    for each in asked:
        context.request_processor = [RequestProcessor({})]
        alone.append(json.loads(handler.handle([each], context)[0]))
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-4)

    golden = json.loads((folder / "golden" / "golden.json").read_text())
    golden["images"][0]["logits"][0] += 1.0
    (folder / "golden" / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(GoldenMismatch, match="logits differ from the lab's by up to"):
        load(folder)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_without_its_package_export_and_worker_say_what_to_install(
    quick_run: Run, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_on(quick_run, tmp_path / "run", backend)
    export(run)
    folder = unpacked(run, tmp_path)
    monkeypatch.setitem(sys.modules, backend, None)
    wanted = rf"needs the package {backend}.*uv sync --extra {backend}.*backend=torchscript"
    with pytest.raises(BackendUnavailable, match=wanted):
        load(folder)
    run.model.unlink()
    with pytest.raises(ExportError, match=wanted):
        export(run)
    assert not run.model.exists()


def compiler(name: str) -> AbstractContextManager[None]:
    """Have torch look for one compiler only."""
    from torch._inductor import config

    return config.patch({"cpp.cxx": (None, name)})


def test_inductor_without_a_compiler_says_so(quick_run: Run, tmp_path: Path) -> None:
    run = run_on(quick_run, tmp_path / "run", "inductor")
    with (
        compiler("no-such-compiler"),
        pytest.raises(ExportError, match=r"needs a C\+\+ compiler where the model is exported"),
    ):
        export(run)
    assert not run.model.exists()


def test_what_is_missing_cannot_be_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_export("torchscript")
    with compiler(sys.executable):
        assert can_export("inductor")
    with compiler("no-such-compiler"):
        assert not can_export("inductor")
    monkeypatch.setattr("marina.export.backends.find_spec", lambda _: None)
    assert not can_export("onnxruntime")


def test_machine_code_for_another_machine_is_refused() -> None:
    own = {
        inductor.TORCH_KEY: torch.__version__,
        inductor.INSTRUCTIONS_KEY: " ".join(inductor.instructions()),
    }
    inductor.check(own)
    with pytest.raises(BackendUnavailable, match=r"has not: avx9000\. Export it on a machine"):
        inductor.check({**own, inductor.INSTRUCTIONS_KEY: "avx9000"})
    with pytest.raises(BackendUnavailable, match=r"compiled by torch 1\.0"):
        inductor.check({**own, inductor.TORCH_KEY: "1.0"})


def test_another_backend_is_another_export(quick_run: Run, tmp_path: Path) -> None:
    run = run_on(quick_run, tmp_path / "run", "onnxruntime")
    export(run)
    assert is_exported(run)
    assert not is_exported(run_on(quick_run, run.folder, "openvino"))
    with pytest.raises(ExportError, match=r"serves with openvino: leave out --format"):
        export_format(Run(run.folder), Format.torchscript)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            ("serve.backend=onnxruntime", "serve.precision=bf16"),
            "backend onnxruntime computes in fp32, int8, not in bf16: .* torchscript or inductor",
        ),
        (
            ("serve.backend=openvino", "serve.torchscript=script"),
            "goes with `backend: torchscript`",
        ),
        (("serve.backend=tensorrt",), "onnxruntime"),
    ],
)
def test_what_a_backend_cannot_do_is_refused(
    quick_run: Run, keys: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(quick_run.recipe_file, keys)


def test_a_worker_of_torchscript_imports_no_other_backend() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, handlers.image_classifier; names = 'onnxruntime openvino torch._inductor';"
            "print([name for name in names.split() if name in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "[]"
