"""A worker's start: its model is loaded, warmed, and proved on the golden images."""

from __future__ import annotations

import logging
import os
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from time import thread_time
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from handlers.backend import FILES, KEEP_THREADS
from handlers.background import Background
from handlers.cores import usable_cores
from handlers.errors import GoldenMismatch
from handlers.golden import Golden
from handlers.gpu import equip, with_graphs
from handlers.image_spec import ImageSpec
from handlers.layout import Layout, lay_out
from handlers.loading import load_backend
from handlers.model import twin
from handlers.parking import VARIABLE as COMMON_FOLDER
from handlers.pipeline import Loaded, Pipeline, release_memory
from handlers.precision import processor_flags, slow_precision_warning
from handlers.rewrite import use_winograd
from handlers.sizes import FEW, graph_sizes, powers, replayed
from handlers.team import on_own_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from handlers.precision import Precision
    from handlers.settings import Settings

    Step = Callable[[Callable[[], Any]], Any]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A forward pass of less CPU time is not shared out: threads would wait more than compute.
WORTH_SHARING_S = 0.005


def start(
    folder: Path,
    config: Mapping[str, Any],
    settings: Settings,
    device: torch.device,
    batch_size: int,
    classes: int,
) -> Pipeline:
    """Give a model that is warm, and answers as it did in the lab.

    Args:
        folder: The unpacked archive.
        config: Its ``model-config.yaml``.
        settings: The handler's section of it.
        device: To run on.
        batch_size: Most images of one batch.
        classes: As many as have names.

    Raises:
        GoldenMismatch: The worker's answers are not the lab's.
        BackendUnavailable: The recipe's backend is not installed here.
        ValueError: The folder or its configuration is not valid.
        OSError: A file is missing from the folder.
    """
    layout = _lay_out(config, settings)
    torch.set_num_threads(layout.threads)  # of the forward passes of this thread
    step = _run if _starts_threads(device, settings) else Background().run
    pipeline, wide = step(lambda: _load(folder, config, settings, device, batch_size, layout))
    step(lambda: pipeline.warm(settings.top_k))
    golden = Golden.load(folder / "golden")
    step(lambda: _prove(pipeline, golden, classes))
    if wide is not None and step(lambda: _cpu_s(pipeline)) >= WORTH_SHARING_S:
        _spread(pipeline, wide, golden, layout, step)
    if device.type == "cpu" and settings.backend not in KEEP_THREADS:
        pipeline.model = on_own_cores(pipeline.model, layout.threads, by_this_thread=True)
    pipeline.renew_threads()
    release_memory()
    return pipeline


def _lay_out(config: Mapping[str, Any], settings: Settings) -> Layout:
    # Without maxWorkers, a model-config.yaml makes TorchServe start one worker per core.
    layout = lay_out(usable_cores(), config.get("maxWorkers"), settings.threads)
    logger.info("%s; the host has %s", layout, os.cpu_count())
    if layout.warning:
        logger.warning(layout.warning)
    return layout


def _run(work: Callable[[], T]) -> T:
    return work()


def _starts_threads(device: torch.device, settings: Settings) -> bool:
    """Tell whether loading a model starts threads that then serve: a GPU's driver does, too."""
    return device.type != "cpu" or settings.backend in KEEP_THREADS


def _load(
    folder: Path,
    config: Mapping[str, Any],
    settings: Settings,
    device: torch.device,
    batch_size: int,
    layout: Layout,
) -> tuple[Pipeline, Pipeline | None]:
    """Give the pipeline, and one of the same model for all cores, if it may take them."""
    spec = ImageSpec.from_mapping(config.get("image") or {})
    _check_precision(settings.precision, device)
    load = partial(
        load_backend,
        folder / FILES[settings.backend],
        spec,
        device,
        backend=settings.backend,
        precision=settings.precision,
        fusion=settings.fusion,
        threads=layout.threads,
    )
    model = load()
    again = None  # the same model, to be compiled for all cores
    if isinstance(model, torch.jit.ScriptModule) and device.type == "cpu":
        if _may_spread(settings, layout):
            # A convolution in int8 keeps what it prepared, for one shape and number of threads.
            again = load() if settings.precision == "int8" else twin(model)
        if settings.winograd and layout.threads == 1:  # the direct way shares its work better
            replaced = use_winograd(model, spec)
            logger.info("%d convolutions are computed by Winograd's algorithm", replaced)
    if device.type == "cuda" and settings.graphs:
        model = with_graphs(model, spec, device, batch_size)
    gpu = equip(spec, settings, device, batch_size)
    fused = settings.fusion and device.type == "cpu"
    sizes = graph_sizes(batch_size, settings.backend, fused=fused)
    pipeline = Pipeline(model, spec, settings.limits, device, layout.threads, sizes, gpu)
    if again is None:
        return pipeline, None
    small = powers(min(batch_size, FEW))
    return pipeline, Pipeline(again, spec, settings.limits, device, layout.threads, small)


def _may_spread(settings: Settings, layout: Layout) -> bool:
    """Tell whether there are workers to ask, and cores that this one does not have."""
    more = layout.threads < layout.most_threads
    return settings.spread and more and COMMON_FOLDER in os.environ


def _cpu_s(pipeline: Pipeline) -> float:
    """Give the CPU time that this thread takes for the model's part of one image."""
    blank = pipeline.blank(1)
    started = thread_time()
    pipeline.infer(blank)
    return thread_time() - started


def _spread(pipeline: Pipeline, wide: Pipeline, golden: Golden, layout: Layout, step: Step) -> None:
    """Have few images computed on all cores, unless they come out as others there."""
    from handlers.spread import Spread  # where there is flock(2): not on Windows

    threads = layout.most_threads
    try:
        step(lambda: _prove_wide(wide, golden, threads))
    except GoldenMismatch as err:
        logger.warning("no image is shared out among the cores: %s", err)
    else:
        folder = Path(os.environ[COMMON_FOLDER])
        wide_model = on_own_cores(wide.model, threads)
        pipeline.model = Spread(pipeline.model, wide_model, threads, folder)
        logger.info("few images take %d threads while no other worker computes", threads)
    torch.set_num_threads(layout.threads)  # of this thread and those to come


def _prove_wide(wide: Pipeline, golden: Golden, threads: int) -> None:
    torch.set_num_threads(threads)
    wide.warm(top_k=1, order=wide.sizes[::-1])
    _replay(wide, golden)


def _check_precision(precision: Precision, device: torch.device) -> None:
    if device.type == "cpu":
        if warning := slow_precision_warning(precision, processor_flags()):
            logger.warning(warning)
    elif precision == "int8":
        raise ValueError(
            "precision int8 runs on the CPU only: archive the model again, so that its "
            "model-config.yaml says deviceType: cpu, or export with serve.precision=fp16 for a GPU"
        )


def _prove(pipeline: Pipeline, golden: Golden, classes: int) -> None:
    """Replay the golden images through the whole path, and count the classes."""
    logits = _replay(pipeline, golden)
    if pipeline.decodes_on_gpu:
        _prove_gpu_decoding(pipeline, golden)
    if logits.shape[1] != classes:
        raise ValueError(
            f"index_to_name.json names {classes} classes, "
            f"the model gives {logits.shape[1]}: archive the model again"
        )


def _replay(pipeline: Pipeline, golden: Golden) -> torch.Tensor:
    """Give the golden images' logits (images, classes), which are the lab's in every batch size.

    All of them at once, then some, or some twice, in the other sizes: those are other graphs.
    """
    loaded = pipeline.each(pipeline.load, [image.data for image in golden.images])
    pixels = [image.pixels for image in loaded]
    logits = pipeline.predict(pixels)
    golden.check(logits, pipeline.device.type)
    for size in replayed(pipeline.sizes, len(pixels)):
        batch = list(islice(cycle(pixels), size))
        golden.first(size).check(pipeline.predict(batch), pipeline.device.type)
    return logits


def _prove_gpu_decoding(pipeline: Pipeline, golden: Golden) -> None:
    """Decode on the CPU from now on, unless the GPU's pixels give the lab's classes."""
    loaded = pipeline.load_all([image.data for image in golden.images])
    pixels = [each.pixels for each in loaded if isinstance(each, Loaded)]
    agreement = golden.agreement(pipeline.predict(pixels))
    if agreement < 1:
        logger.warning(
            "decoded on the GPU, %.0f%% of the golden images keep their class: the CPU decodes",
            100 * agreement,
        )
        pipeline.decode_on_cpu()
