"""A training small enough to be run dozens of times: 40 made-up images, four steps an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from marina.recipe import Recipe, read_recipe

TINY = """
name: tiny
data:
  source: synthetic
  root: {root}
  synthetic: {{classes: 2, images: 40, size_px: 32}}
architecture: {{name: shufflenet_v2_x0_5}}
train:
  epochs: 2
  batch_size: 8
  lr: 0.02
  warmup_epochs: 0
  tensorboard: false
  device: cpu
image: {{resize: 32, crop: 32, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Nothing here is worth two threads, which on a busy machine wait for each other.

    For a module's own fixtures, too: other threads make other sums, and so other trainings.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe as a file, for programs."""
    folder = tmp_path_factory.mktemp("tiny")
    file = folder / "tiny.yaml"
    file.write_text(TINY.format(root=folder / "images"))
    return file


@pytest.fixture(scope="session")
def tiny(tiny_file: Path) -> Callable[..., Recipe]:
    """The recipe with overrides, such as ``tiny("train.epochs=1")``."""

    def read(*overrides: str) -> Recipe:
        return read_recipe(tiny_file, overrides)

    return read
