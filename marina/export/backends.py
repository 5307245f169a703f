"""Exports for the backends beside TorchScript: from pixels to logits, in one file each."""

from __future__ import annotations

import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from handlers import inductor
from handlers.backend import require
from handlers.errors import BackendUnavailable
from handlers.model import PixelModel
from handlers.onnx_runtime import INPUT
from handlers.preprocess import normalize
from marina.errors import ExportError
from marina.export import onnx
from marina.export.precision import calibration_batches
from marina.export.program import BATCH, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handlers.backend import Backend
    from marina.recipe import Recipe
    from marina.train.run import Run

_INDUCTOR_OPTIONS = {
    "freezing": True,  # weights laid out for oneDNN's convolutions, once
    "cpp.dynamic_threads": True,  # the worker's number of threads, not this process's
}


def save(network: nn.Module, run: Run, file: Path) -> None:
    """Write a network for the recipe's backend, in its precision.

    Args:
        network: On the CPU, in evaluation mode.
        run: Of it.
        file: Where to.

    Raises:
        ExportError: A package or the compiler is missing, or the network cannot be translated.
        DataError: There are no training images to calibrate int8 on.
    """
    recipe = run.recipe
    backend = recipe.serve.backend
    pixels = PixelModel(network, recipe.image).eval()
    blank = _blank(recipe)
    normalize(blank, recipe.image)  # keeps mean and std, which the export takes for constants
    if backend == "inductor":
        _compile(network, blank, recipe, file)
        return
    try:
        require(backend)
    except BackendUnavailable as err:
        raise ExportError(str(err)) from err
    onnx.save(pixels, blank, run, file)
    if recipe.serve.precision == "int8":
        _quantize(file, recipe)


def can_export(backend: Backend) -> bool:
    """Tell whether this environment has what an export for a backend needs."""
    if backend == "torchscript":
        return True
    if backend != "inductor":
        return find_spec(backend) is not None
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


class _HalfModel(nn.Module):
    """A network in bf16 between its normalization and its logits, which stay float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = fuse(network).to(torch.bfloat16)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._network(images.to(torch.bfloat16))
        return logits.float()


def _compile(network: nn.Module, blank: torch.Tensor, recipe: Recipe, file: Path) -> None:
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    name = recipe.architecture.name
    try:
        get_cpp_compiler()
        computed = _HalfModel(network) if recipe.serve.precision == "bf16" else network
        model = PixelModel(computed, recipe.image).eval()
        options = {
            **_INDUCTOR_OPTIONS,
            "aot_inductor.metadata": {
                inductor.INSTRUCTIONS_KEY: " ".join(sorted(inductor.instructions())),
                inductor.TORCH_KEY: torch.__version__,
            },
        }
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            package = Path(folder) / "model.pt2"  # torch insists on that ending
            program = torch.export.export(model, (blank,), dynamic_shapes=(BATCH,))
            aoti_compile_and_package(program, package_path=str(package), inductor_configs=options)
            file.write_bytes(package.read_bytes())
    except InvalidCxxCompiler as err:
        raise ExportError(
            "backend inductor needs a C++ compiler where the model is exported (g++, or the one "
            "that CXX names), not where it is served: install one, or export with "
            "serve.backend=torchscript"
        ) from err
    except RuntimeError as err:
        raise ExportError(
            f"torch's Inductor cannot compile {name}: {first_line(err)}. Export it with "
            "serve.backend=torchscript"
        ) from err


def _quantize(file: Path, recipe: Recipe) -> None:
    """Rewrite an ONNX file in int8: per-channel weights, calibrated activations (QDQ form)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, batches: Iterator[torch.Tensor]) -> None:
            self._batches = batches

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch.contiguous().numpy()}

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(file, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            file,
            Reader(calibration_batches(recipe)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def _blank(recipe: Recipe) -> torch.Tensor:
    spec = recipe.image
    # A batch of two, since torch.export takes one of 1 for a constant.
    return torch.zeros(2, spec.channels, spec.crop, spec.crop, dtype=torch.uint8)  # (N, C, H, W)
