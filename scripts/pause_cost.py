"""What a pause before a request costs: milliseconds of a forward pass in all cores' threads.

    python scripts/pause_cost.py model_store/resnet-1.0.mar --pause 0 0.025 0.1

One image of noise, in threads that Linux puts where it wants, and in threads that keep to a core
each (`handlers.team`), in turn; in a thread of its own each, so that they share no helper. Set
OMP_WAIT_POLICY and GOMP_SPINCOUNT as `marina serve` does, or not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import torch
import yaml

from handlers.image_spec import ImageSpec
from handlers.model import load_model
from handlers.team import on_own_cores

WARM_UP_RUNS = 5

Model = Callable[[torch.Tensor], torch.Tensor]


class Way:
    """A model in a thread that computes nothing else.

    Args:
        model: From pixels to logits.
        spec: What it expects.
        held: Whether each thread keeps to a core.
    """

    def __init__(self, model: Model, spec: ImageSpec, *, held: bool) -> None:
        shape = (1, spec.channels, spec.crop, spec.crop)
        self._pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        self._pool = ThreadPoolExecutor(1)
        threads = len(os.sched_getaffinity(0))
        self._pool.submit(torch.set_num_threads, threads).result()
        self._model = on_own_cores(model, threads) if held else model
        for _ in range(WARM_UP_RUNS):
            self.run_s()

    def run_s(self) -> float:
        """Give the seconds of one forward pass."""
        return self._pool.submit(self._timed).result()

    @torch.inference_mode()
    def _timed(self) -> float:
        started = time.perf_counter()
        self._model(self._pixels)
        return time.perf_counter() - started


def load(archive: Path) -> tuple[Model, ImageSpec]:
    """Give an archive's model, and what it expects."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive) as content:
        config = yaml.safe_load(content.read("model-config.yaml"))
        spec = ImageSpec.from_mapping(config["image"])
        file = Path(content.extract("model.pt", folder))
        return load_model(file, spec, torch.device("cpu"), fusion=True), spec


def main() -> None:
    """Measure each archive after each pause, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, nargs="+")
    parser.add_argument("--pause", type=float, nargs="+", default=[0, 0.025, 0.1], help="seconds")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    print("| archive | pause, ms | free | kept to a core |\n| --- | ---: | ---: | ---: |")
    for archive in options.archive:
        ways = [Way(*load(archive), held=held) for held in (False, True)]
        for pause in options.pause:
            seconds: list[list[float]] = [[], []]
            for _ in range(options.rounds):
                for way, taken in zip(ways, seconds, strict=True):
                    time.sleep(pause)
                    taken.append(way.run_s())
            free, held = (median(taken) * 1e3 for taken in seconds)
            print(f"| {archive.stem} | {pause * 1e3:g} | {free:.2f} | {held:.2f} |", flush=True)


if __name__ == "__main__":
    main()
