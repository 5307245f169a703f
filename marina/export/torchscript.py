"""Export what is served, TorchScript unless the recipe says otherwise, proved on real images.

TorchScript is traced or scripted, saved unfrozen, and takes normalized images: freezing turns
weights into constants of the device at hand. The handler freezes it on its own device, with the
normalization in front.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from handlers.cores import usable_cores
from handlers.errors import BackendUnavailable
from handlers.layout import lay_out
from handlers.loading import load_backend
from handlers.pipeline import Pipeline
from handlers.rewrite import use_winograd
from handlers.sizes import graph_sizes, replayed
from marina.errors import ExportError, ParityError
from marina.export import backends
from marina.export.golden import chosen, write_golden
from marina.export.images import evenly_spaced
from marina.export.metadata import extra_files
from marina.export.parity import Parity, check_parity
from marina.export.precision import quiet_torch, trace
from marina.export.program import first_line
from marina.files import sha256_file, whole_file, write_whole
from marina.progress import console, progress_bar
from marina.train.dataset import Split, read_split
from marina.train.evaluation import infer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from marina.recipe import Recipe, Serve
    from marina.train.run import Run

PARITY_IMAGES = 2048
_CPU = torch.device("cpu")

Winograd = Literal["proved", "refused", "off"]


def export(run: Run, out: Path | None = None) -> Parity:
    """Write the model that is served, ``parity.json`` beside it, and the run's golden images.

    Args:
        run: A finished run.
        out: Where to put the model instead of the run's own folder.

    Raises:
        ParityError: The exported model answers differently; no model is written.
        ExportError: The network cannot be had in the recipe's precision, or for its backend.
        DataError: There are no images to prove it on, or none to calibrate int8 on.
    """
    out = out or run.model
    images = evenly_spaced(read_split(run.recipe.data, "test"), PARITY_IMAGES)
    network = run.load_network()
    logits = infer(network, images, run.recipe)  # (images, classes)
    agreement = check_decoding(logits, network, images, run.recipe)
    with whole_file(out) as file:
        _save(network, run, file)
        served, parity, winograd = prove(file, logits, images, run.recipe)
    record = {
        **parity.as_dict(),
        "backend": run.recipe.serve.backend,
        "torchscript": run.recipe.serve.torchscript,
        "fusion": served.fusion,
        "winograd": winograd,
        "exact_decode_agreement": agreement,
        "model_sha256": sha256_file(out),
        "checkpoint_sha256": sha256_file(run.checkpoint),
        "temperature": run.temperature,
    }
    write_whole(out.parent / "parity.json", json.dumps(record, indent=2))
    golden = logits if parity.precision == "fp32" else served.logits
    write_golden(run.folder / "golden", images, golden, parity, served.worker_difference)
    return parity


def _save(network: nn.Module, run: Run, file: Path) -> None:
    if run.recipe.serve.backend != "torchscript":
        backends.save(network, run, file)
        return
    with quiet_torch():
        torch.jit.save(compiled(network, run.recipe), file, _extra_files=extra_files(run))


def compiled(network: nn.Module, recipe: Recipe) -> torch.jit.ScriptModule:
    """Trace or script a network, as the recipe says; see `trace` for what goes in and out.

    Raises:
        ExportError: The network cannot be rewritten for its precision, or not be scripted.
        DataError: There are no training images to calibrate int8 on.
    """
    if recipe.serve.torchscript == "trace":
        return trace(network, recipe)
    try:
        scripted: torch.jit.ScriptModule = torch.jit.script(network)
    except RuntimeError as err:
        raise ExportError(
            f"torch.jit.script cannot compile {recipe.architecture.name}: {first_line(err)}. "
            "Export it with serve.torchscript=trace"
        ) from err
    return scripted


def is_exported(run: Run) -> bool:
    """Tell whether the run's model and golden images are those of its checkpoint and recipe."""
    try:
        parity = json.loads((run.folder / "parity.json").read_text())
        return bool(
            parity["checkpoint_sha256"] == sha256_file(run.checkpoint)
            and parity["model_sha256"] == sha256_file(run.model)
            and parity["precision"] == run.recipe.serve.precision
            and parity.get("backend", "torchscript") == run.recipe.serve.backend
            and (parity["winograd"] != "off") == _asks_for_winograd(run.recipe.serve)
            and parity["torchscript"] == run.recipe.serve.torchscript
            and parity["temperature"] == run.temperature
            and (run.folder / "golden" / "golden.json").is_file()
        )
    except (OSError, ValueError, KeyError):
        return False


def check_decoding(
    logits: torch.Tensor, network: nn.Module, images: Split, recipe: Recipe
) -> float | None:
    """Tell how often a recipe that decodes fast has the top-1 of exact decoding.

    Returns:
        The share of the images; None where the recipe decodes exactly.

    Raises:
        ParityError: More of them change than ``serve.max_accuracy_loss`` allows.
    """
    if recipe.image.decode == "exact":
        return None
    exact = recipe.model_copy(update={"image": replace(recipe.image, decode="exact")})
    same = infer(network, images, exact).argmax(1) == logits.argmax(1)
    agreement = float(same.float().mean())
    if 1 - agreement > recipe.serve.max_accuracy_loss:
        raise ParityError(
            f"image.decode=fast changes the top-1 of {1 - agreement:.2%} of {len(same)} test "
            f"images, more than serve.max_accuracy_loss={recipe.serve.max_accuracy_loss:g} "
            "allows: use image.decode=exact. No model was written"
        )
    console.print(f"fast decoding has the top-1 of exact decoding on {agreement:.1%} of the images")
    return agreement


class Served(NamedTuple):
    """What the handler makes of a model file.

    Attributes:
        logits: float32 (images, classes).
        fusion: Whether oneDNN Graph could fuse the model.
        worker_difference: By how much the golden images' logits move with a worker's threads and
            batch sizes, which sum in other orders; 0 in fp32, where that is far below any bound.
    """

    logits: torch.Tensor
    fusion: bool
    worker_difference: float = 0.0


def prove(
    file: Path, logits: torch.Tensor, images: Split, recipe: Recipe
) -> tuple[Served, Parity, Winograd]:
    """Compare what the handler makes of a model file with the network's own logits.

    Args:
        file: The model.
        logits: The network's (images, classes).
        images: That were answered.
        recipe: How it is served; without Winograd's algorithm, if that moves the logits too far.

    Raises:
        ParityError: The model answers differently.
    """
    asked = _asks_for_winograd(recipe.serve)
    if asked:
        served = serve(file, images, recipe, winograd=True)
        with suppress(ParityError):
            return served, check_parity(logits, served.logits, images, recipe.serve), "proved"
    served = serve(file, images, recipe)
    parity = check_parity(logits, served.logits, images, recipe.serve)
    if not asked:
        return served, parity, "off"
    console.print("Winograd's algorithm moves the logits too far: it is served without")
    return served, parity, "refused"


def _asks_for_winograd(serves: Serve) -> bool:
    return serves.winograd and serves.precision == "fp32" and serves.backend == "torchscript"


def serve(file: Path, images: Split, recipe: Recipe, *, winograd: bool = False) -> Served:
    """Answer images as a worker on the CPU does, fused if the model can be."""
    if recipe.serve.backend != "torchscript" or recipe.serve.precision == "int8":
        # Quantized operations are not oneDNN Graph's.
        return _answer(file, images, recipe, fusion=False, winograd=winograd)
    fused = torch.jit.onednn_fusion_enabled()  # type: ignore[no-untyped-call]
    try:
        return _answer(file, images, recipe, fusion=True, winograd=winograd)
    except (RuntimeError, IndexError) as err:
        console.print(
            f"oneDNN Graph cannot fuse {recipe.architecture.name} ({str(err).splitlines()[0]}): "
            "it is served without"
        )
        return _answer(file, images, recipe, fusion=False, winograd=winograd)
    finally:
        torch.jit.enable_onednn_fusion(fused)


def _answer(file: Path, images: Split, recipe: Recipe, *, fusion: bool, winograd: bool) -> Served:
    pipeline = _load(file, recipe, fusion, usable_cores(), winograd=winograd)
    size = recipe.serve.batch_size
    parts = []
    with progress_bar("parity", len(images.files)) as bar:
        for start in range(0, len(images.files), size):
            files = images.files[start : start + size]
            parts.append(pipeline.infer(_batch(pipeline, files)))
            bar.advance(len(files))
    logits = torch.cat(parts)  # (images, classes)
    if recipe.serve.precision == "fp32":
        return Served(logits, fusion)
    return Served(logits, fusion, _worker_difference(file, images, logits, recipe, fusion))


def _worker_difference(
    file: Path, images: Split, logits: torch.Tensor, recipe: Recipe, fusion: bool
) -> float:
    golden = chosen(images)
    threads = lay_out(usable_cores(), recipe.serve.workers, recipe.serve.threads).threads
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pipeline = _load(file, recipe, fusion, threads)
        batch = _batch(pipeline, [images.files[index] for index in golden])
        expected = logits[golden]
        differences = []
        for size in (len(golden), *replayed(pipeline.sizes, len(golden))):
            some = torch.arange(size) % len(golden)
            differences.append((pipeline.infer(batch[some]) - expected[some]).abs().max())
        return max(map(float, differences))
    finally:
        torch.set_num_threads(threads_before)


def _batch(pipeline: Pipeline, files: Sequence[Path]) -> torch.Tensor:
    loaded = pipeline.each(lambda image: pipeline.load(image.read_bytes()), files)
    return pipeline.batch([image.pixels for image in loaded])


def _load(
    file: Path, recipe: Recipe, fusion: bool, threads: int, *, winograd: bool = False
) -> Pipeline:
    serve = recipe.serve
    sizes = graph_sizes(serve.batch_size, serve.backend, fused=fusion)
    try:
        model = load_backend(
            file,
            recipe.image,
            _CPU,
            backend=serve.backend,
            precision=serve.precision,
            fusion=fusion,
            threads=threads,
        )
    except BackendUnavailable as err:
        raise ExportError(str(err)) from err
    if winograd and isinstance(model, torch.jit.ScriptModule):
        use_winograd(model, recipe.image)
    return Pipeline(model, recipe.image, serve.limits, _CPU, threads, sizes)
