"""A network in fewer bits: half precision by autocast, or int8 by static quantization."""

from __future__ import annotations

import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx
from torch.fx.experimental.optimization import fuse
from torch.jit._trace import TracerWarning

from handlers.preprocess import load_pixels, normalize
from marina.errors import ExportError
from marina.export.images import evenly_spaced
from marina.progress import progress_bar
from marina.train.dataset import read_split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from handlers.precision import Precision
    from marina.recipe import Recipe

CALIBRATION_IMAGES = 256
CALIBRATION_BATCH = 16
# fbgemm and oneDNN on x86: int8 weights per channel, activations per tensor (torch 2.15 docs).
QUANTIZATION_ENGINE = "x86"

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def trace(network: nn.Module, recipe: Recipe) -> torch.jit.ScriptModule:
    """Trace a network in the recipe's precision; the batch size stays free.

    Args:
        network: On the CPU, in evaluation mode.
        recipe: Its image, its precision, and for int8 the training images to calibrate on.

    Returns:
        From normalized images (N, C, crop, crop), float32, to logits (N, classes).

    Raises:
        ExportError: The network cannot be rewritten for that precision.
        DataError: There are no training images to calibrate int8 on.
    """
    precision = recipe.serve.precision
    crop = recipe.image.crop
    blank = torch.zeros(2, recipe.image.channels, crop, crop, dtype=torch.uint8)  # (N, C, H, W)
    lowered = network if precision == "fp32" else _lower(network, recipe, precision)
    # Autocast writes its casts into the trace. Without its cache, each weight's cast is in there
    # too, and freezing computes it once.
    dtype = _HALF.get(precision)
    cast = torch.autocast("cpu", dtype=dtype, cache_enabled=False) if dtype else nullcontext()
    with quiet_torch(), torch.inference_mode(mode=False), torch.no_grad(), cast:
        traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            lowered, normalize(blank, recipe.image)
        )
    return traced


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Leave out torch's notices that TorchScript and FX quantization have successors.

    TorchServe reads TorchScript, and only FX's int8 becomes such a file. PT2E is the way out.
    """
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, TracerWarning):
            warnings.simplefilter("ignore", category)
        # Its observers warn that they use 7 of 8 bits on x86, which is what is wanted there.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.ao\.")
        yield


def _lower(network: nn.Module, recipe: Recipe, precision: Precision) -> nn.Module:
    try:
        with quiet_torch(), torch.no_grad():
            return _quantize(network, recipe) if precision == "int8" else fuse(network)
    except torch.fx.proxy.TraceError as err:
        raise ExportError(
            f"{recipe.architecture.name} cannot be rewritten for precision {precision}: torch.fx "
            f"does not follow its control flow ({err}). Export it with serve.precision=fp32"
        ) from err


def calibration_batches(recipe: Recipe) -> Iterator[torch.Tensor]:
    """Give training images to calibrate int8 on, showing the progress.

    Yields:
        Pixels (N, C, crop, crop), uint8.

    Raises:
        DataError: There are none.
    """
    images = evenly_spaced(read_split(recipe.data, "train"), CALIBRATION_IMAGES)
    starts = range(0, len(images.files), CALIBRATION_BATCH)
    with progress_bar("calibrate", len(starts)) as bar:
        for start in starts:
            files = images.files[start : start + CALIBRATION_BATCH]
            pixels = [load_pixels(f.read_bytes(), recipe.image, recipe.serve.limits) for f in files]
            yield torch.stack(pixels)  # (N, C, H, W)
            bar.advance()


def _quantize(network: nn.Module, recipe: Recipe) -> nn.Module:
    torch.backends.quantized.engine = QUANTIZATION_ENGINE
    mapping = get_default_qconfig_mapping(QUANTIZATION_ENGINE)
    batches = list(calibration_batches(recipe))
    example = normalize(batches[0][:1], recipe.image)
    prepared = quantize_fx.prepare_fx(network, mapping, (example,))
    for batch in batches:
        prepared(normalize(batch, recipe.image))
    quantized: nn.Module = quantize_fx.convert_fx(prepared)
    return quantized
