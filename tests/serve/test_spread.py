"""A lone request has all cores, of a real server with a model that is worth it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from handlers.cores import usable_cores
from handlers.spread import PATIENCE
from marina.archive.archive import archive
from marina.archive.store import ModelStore
from marina.client import Client
from marina.export.torchscript import export
from marina.recipe import read_recipe
from marina.serve import resolve, running
from marina.train.training import train

from .conftest import free_config, processes_of

if TYPE_CHECKING:
    from marina.train.run import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(usable_cores() == 1, reason="a lone request has the only core anyway"),
]

RECIPE = Path(__file__).parents[2] / "models" / "resnet18_imagenet.yaml"
REQUESTS = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of ResNet-18 at 224 px, with random weights."""
    folder = tmp_path_factory.mktemp("run")
    changes = {
        "data.root": folder / "photographs",
        "architecture.weights": "null",
        "serve.workers": usable_cores(),
    }
    overrides = tuple(f"{key}={value}" for key, value in changes.items())
    run = train(read_recipe(RECIPE, overrides), folder / "runs" / "resnet18" / "one")
    export(run)
    return run


def cpu_s() -> dict[int, dict[int, float]]:
    """Give the CPU seconds so far of each thread of each worker."""
    return {
        process.pid: {each.id: each.user_time + each.system_time for each in process.threads()}
        for process in processes_of(os.getpid())
        if process.name() != "java"
    }


def test_two_threads_compute_a_lone_request(run: Run, tmp_path: Path) -> None:
    archive(run, "1.0", ModelStore(tmp_path))
    name = run.recipe.name
    image = next((run.folder / "golden").glob("*.png")).read_bytes()
    config, models = free_config(tmp_path), resolve([f"{name}-1.0.mar"], tmp_path)
    with running(config, models, log_dir=tmp_path / "logs"), Client(config.rest_url) as client:
        for _ in range(4 * usable_cores() * PATIENCE):  # whichever workers answer them
            first = client.predict(image, model=name)
        before = cpu_s()
        for _ in range(REQUESTS):
            best = client.predict(image, model=name)
            assert [each.label for each in best] == [each.label for each in first]
        workers = {
            worker: {thread: s - before[worker].get(thread, 0.0) for thread, s in threads.items()}
            for worker, threads in cpu_s().items()
        }
        busy = [spent for spent in workers.values() if sum(spent.values()) > REQUESTS / 1000]
        assert busy
        for spent in busy:
            most, second, *_ = sorted(spent, key=spent.__getitem__, reverse=True)
            assert spent[second] > 0.5 * spent[most]
            own = os.getpriority(os.PRIO_PROCESS, 0)
            assert [os.getpriority(os.PRIO_PROCESS, each) for each in (most, second)] == [own, own]
