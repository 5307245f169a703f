"""What tests of more than one room share."""

from __future__ import annotations

from pathlib import Path

import pytest

from marina.recipe import Recipe, read_recipe
from marina.train.run import Run
from marina.train.training import train

REPO = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def quick_recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The demo's recipe, cut to one epoch, on digits written out in a private folder."""
    root = tmp_path_factory.mktemp("data") / "digits"
    return read_recipe(
        REPO / "models" / "resnet.yaml", (f"data.root={root}", "train.epochs=1", "train.lr=0.02")
    )


@pytest.fixture(scope="session")
def quick_run(quick_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One finished run of that recipe."""
    return train(quick_recipe, tmp_path_factory.mktemp("runs") / "resnet" / "quick")
