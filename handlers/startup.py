"""A worker's start: its model is loaded, warmed, and proved on the golden images."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from handlers.backend import FILES, KEEP_THREADS
from handlers.background import Background
from handlers.cores import usable_cores
from handlers.golden import Golden
from handlers.gpu import equip, with_graphs
from handlers.image_spec import ImageSpec
from handlers.layout import Layout, lay_out
from handlers.loading import load_backend
from handlers.pipeline import Loaded, Pipeline
from handlers.precision import processor_flags, slow_precision_warning
from handlers.sizes import graph_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from handlers.precision import Precision
    from handlers.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")


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
    pipeline = step(lambda: _load(folder, config, settings, device, batch_size, layout))
    step(lambda: pipeline.warm(settings.top_k))
    step(lambda: _prove(pipeline, Golden.load(folder / "golden"), classes))
    pipeline.renew_threads()
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
) -> Pipeline:
    spec = ImageSpec.from_mapping(config.get("image") or {})
    _check_precision(settings.precision, device)
    model = load_backend(
        folder / FILES[settings.backend],
        spec,
        device,
        backend=settings.backend,
        precision=settings.precision,
        fusion=settings.fusion,
        winograd=settings.winograd and layout.threads == 1,  # the direct way shares its work better
        threads=layout.threads,
    )
    if device.type == "cuda" and settings.graphs:
        model = with_graphs(model, spec, device, batch_size)
    gpu = equip(spec, settings, device, batch_size)
    fused = settings.fusion and device.type == "cpu"
    sizes = graph_sizes(batch_size, settings.backend, fused=fused)
    return Pipeline(model, spec, settings.limits, device, layout.threads, sizes, gpu)


def _check_precision(precision: Precision, device: torch.device) -> None:
    if device.type == "cpu":
        if warning := slow_precision_warning(precision, processor_flags()):
            logger.warning(warning)
    elif precision == "int8":
        raise ValueError(
            "precision int8 runs on the CPU only: export with serve.precision=fp16 for a GPU, or "
            "set number_of_gpu=0 in config.properties"
        )


def _prove(pipeline: Pipeline, golden: Golden, classes: int) -> None:
    """Replay the golden images through the whole path, and count the classes.

    All of them in full batches, then some in each smaller size: those are other graphs.
    """
    loaded = pipeline.each(pipeline.load, [image.data for image in golden.images])
    pixels = [image.pixels for image in loaded]
    logits = pipeline.predict(pixels)  # (images, classes)
    golden.check(logits, pipeline.device.type)
    for size in pipeline.sizes[1:]:
        golden.first(size).check(pipeline.predict(pixels[:size]), pipeline.device.type)
    if pipeline.decodes_on_gpu:
        _prove_gpu_decoding(pipeline, golden)
    if logits.shape[1] != classes:
        raise ValueError(
            f"index_to_name.json names {classes} classes, "
            f"the model gives {logits.shape[1]}: archive the model again"
        )


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
