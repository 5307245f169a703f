"""What tests of more than one room share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from marina.recipe import Recipe, read_recipe
from marina.serve import ports
from marina.train.run import Run
from marina.train.training import train

# No two processes that run tests, nor the servers that they start, look for ports in the same
# place: what is chosen here may be listened on minutes later.
SLOT = 3_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 4)
ports.chosen_from = range(20_000 + SLOT, 21_500 + SLOT)
os.environ[ports.VARIABLE] = f"{21_500 + SLOT}-{22_999 + SLOT}"

# A test run that was started in the background ignores SIGINT, one under nohup SIGHUP, and so
# would every server that they start: Ctrl-C could not be tested. Children inherit the default.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

REPO = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def quick_recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The demo's recipe, cut to one epoch of 94%, on digits written out in a private folder."""
    root = tmp_path_factory.mktemp("data") / "digits"
    changes = {
        "data.root": root,
        "train.epochs": 1,
        "train.batch_size": 32,
        "train.lr": 0.02,
        "train.warmup_epochs": 0,
    }
    overrides = tuple(f"{key}={value}" for key, value in changes.items())
    return read_recipe(REPO / "models" / "resnet.yaml", overrides)


@pytest.fixture(scope="session")
def quick_run(quick_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One finished run of that recipe."""
    return train(quick_recipe, tmp_path_factory.mktemp("runs") / "resnet" / "quick")
