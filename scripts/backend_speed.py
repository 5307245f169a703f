"""CPU milliseconds per image of each backend and precision: the model alone, on one thread.

    .venv/bin/python scripts/backend_speed.py                 # ResNet-18, 224 px, random weights
    .venv/bin/python scripts/backend_speed.py --rounds 30 --sizes 1 8

Each is exported from the same network, loaded as a worker loads it, and called in interleaved
rounds, so that what drifts on the machine drifts for all; the median over the rounds is shown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from handlers.backend import BACKENDS, SUPPORTED, Backend
from handlers.loading import load_backend
from handlers.pipeline import WARM_UP_RUNS
from handlers.precision import Precision
from handlers.rewrite import use_winograd
from marina.errors import ExportError
from marina.export import backends
from marina.export.precision import quiet_torch
from marina.export.torchscript import compiled
from marina.recipe import Recipe, read_recipe
from marina.train.run import Run
from marina.train.training import train

RECIPE = Path(__file__).parents[1] / "models" / "resnet18_imagenet.yaml"
CPU = torch.device("cpu")
Model = Callable[[torch.Tensor], torch.Tensor]


def recipe_for(backend: Backend, precision: Precision, folder: Path) -> Recipe:
    """Give the recipe, whose two photographs also calibrate int8."""
    overrides = {
        "architecture.weights": "null",
        "data.root": folder / "photographs",
        "data.splits": "{train: test}",
        "serve.backend": backend,
        "serve.precision": precision,
    }
    return read_recipe(RECIPE, tuple(f"{key}={value}" for key, value in overrides.items()))


def load(run: Run, backend: Backend, precision: Precision, folder: Path) -> Model:
    """Export a network for a backend, and load it as a worker does."""
    recipe = recipe_for(backend, precision, folder)
    changed = Run(folder / f"{backend}-{precision}")
    changed.folder.mkdir()
    changed.recipe_file.write_text(recipe.as_yaml())
    (changed.folder / "labels.json").write_bytes((run.folder / "labels.json").read_bytes())
    network = run.load_network()
    if backend == "torchscript":
        with quiet_torch():
            torch.jit.save(compiled(network, recipe), changed.model)
    else:
        backends.save(network, changed, changed.model)
    model = load_backend(
        changed.model,
        recipe.image,
        CPU,
        backend=backend,
        precision=precision,
        fusion=precision != "int8",
        threads=1,
    )
    if precision == "fp32" and isinstance(model, torch.jit.ScriptModule):
        use_winograd(model, recipe.image)
    return model


def warm(model: Model, batches: list[torch.Tensor]) -> Model:
    """Compile each shape, while the process still has the settings of the loading."""
    with torch.inference_mode():
        for pixels in batches * WARM_UP_RUNS:
            model(pixels)
    return model


def main() -> None:
    """Export all, call them in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = train(recipe_for("torchscript", "fp32", folder), folder / "run")
        spec = run.recipe.image
        batches = [
            torch.randint(0, 256, (size, spec.channels, spec.crop, spec.crop), dtype=torch.uint8)
            for size in options.sizes
        ]  # each (N, C, H, W)
        models: dict[tuple[Backend, Precision], Model] = {}
        for backend in BACKENDS:
            for precision in SUPPORTED[backend]:
                try:
                    loaded = load(run, backend, precision, folder)
                    models[backend, precision] = warm(loaded, batches)
                except ExportError as err:
                    print(f"{backend} {precision}: {err}")
        times: dict[tuple[str, str, int], list[float]] = {}
        with torch.inference_mode():
            for _ in range(options.rounds):
                for pixels in batches:
                    for key, model in models.items():
                        began = time.process_time()
                        model(pixels)
                        spent_ms = (time.process_time() - began) * 1e3 / len(pixels)
                        times.setdefault((*key, len(pixels)), []).append(spent_ms)
    print(f"| backend | precision | {' | '.join(f'batch {size}' for size in options.sizes)} |")
    print("| --- | --- |" + " ---: |" * len(options.sizes))
    for backend, precision in models:
        medians = [statistics.median(times[backend, precision, size]) for size in options.sizes]
        print(f"| {backend} | {precision} | {' | '.join(f'{ms:.1f}' for ms in medians)} |")


if __name__ == "__main__":
    main()
