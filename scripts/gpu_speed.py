"""How much of a GPU's speed the handler keeps: from JPEG bytes, against the model alone.

    python scripts/gpu_speed.py unpacked.mar/ --images photos/ --batch 64 --trace trace.json

The archive is unpacked (`unzip`), of any model; the issue's figure is ResNet-50, bf16 or fp16 and
`image.decode: fast`. It prints images/s of the handler from bytes, of the model alone on resident
tensors, and their ratio (asked: at least 0.85 at batch 64). The trace has one handler's batches:
decode, copy and compute on their streams, for chrome://tracing or ui.perfetto.dev.

`--device cpu` runs the same on a CPU, to try it: `--batch 4 --seconds 3`.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from handlers.pipeline import Pipeline
from marina.bench.handler import PackedHandler
from marina.bench.images import find_images


def main() -> None:
    """Measure, print, trace."""
    options = _options()
    gpu = 0 if options.device == "cuda" else None
    handler = PackedHandler(options.folder, workers=1, batch_size=options.batch, gpu_id=gpu)
    with tempfile.TemporaryDirectory() as folder:
        images = find_images(options.images, None, Path(folder)).files
        files = [image.read_bytes() for image in images]
    batch = list(itertools.islice(itertools.cycle(files), options.batch))

    served = rate(lambda: handler.answer(batch), options)
    alone = rate(_model_alone(handler, options), options)
    print(f"handler, from JPEG bytes: {served:.0f} images/s")
    print(f"model alone, resident tensors: {alone:.0f} images/s")
    print(f"share: {served / alone:.1%} at batch {options.batch}")
    if options.trace:
        trace(lambda: handler.answer(batch), options)
        print(options.trace)


def rate(run: Callable[[], object], options: argparse.Namespace) -> float:
    """Give images per second of a call that takes a batch."""
    for _ in range(3):
        run()
    _wait(options)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < options.seconds:
        run()
        calls += 1
    _wait(options)
    return calls * options.batch / (time.perf_counter() - began)


def trace(run: Callable[[], object], options: argparse.Namespace) -> None:
    """Write a few calls' timeline."""
    activities = [ProfilerActivity.CPU]
    if options.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        for _ in range(3):
            run()
        _wait(options)
    seen.export_chrome_trace(str(options.trace))


def _model_alone(handler: PackedHandler, options: argparse.Namespace) -> Callable[[], object]:
    pipeline: Pipeline = handler.pipeline
    spec = pipeline.spec
    shape = (options.batch, spec.channels, spec.crop, spec.crop)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=pipeline.device)  # (N, C, H, W)
    return lambda: pipeline.infer(pixels)


def _wait(options: argparse.Namespace) -> None:
    if options.device == "cuda":
        torch.cuda.synchronize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="an unpacked .mar")
    parser.add_argument("--images", default="photo-640", help="folder, or photo-224, …")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--trace", type=Path, help="JSON file of the timeline")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    return parser.parse_args()


if __name__ == "__main__":
    main()
