"""The threads of a forward pass keep to a core each."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from pictures import encode, quadrants
from test_image_classifier import Worker
from tiny import stage

from handlers.team import on_own_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

PIXELS = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="needs Linux and two cores")


@pytest.fixture
def computing() -> Iterator[ThreadPoolExecutor]:
    """A thread that has computed nothing yet, so that it has no helpers."""
    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as pool:
        yield pool
    torch.set_num_threads(before)  # it is the process's, too


def plain(pixels: torch.Tensor) -> torch.Tensor:
    return pixels + 1


def held_threads() -> dict[int, int]:
    """Give this process's threads that are held to one core, and the core."""
    masks = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            masks[int(task.name)] = os.sched_getaffinity(int(task.name))
    return {thread: min(mask) for thread, mask in masks.items() if len(mask) == 1}


def where(_: torch.Tensor) -> torch.Tensor:
    """Give the cores that the calling thread may run on."""
    return torch.tensor(sorted(os.sched_getaffinity(0)))


def work(_: torch.Tensor) -> torch.Tensor:
    """Compute what takes all threads."""
    return torch.ones(len(CORES) * 100_000).add_(1).sum()


def test_helpers_have_a_core_each_and_keep_it(computing: ThreadPoolExecutor) -> None:
    before = held_threads()
    model = on_own_cores(work, len(CORES))
    for _ in range(3):
        computing.submit(model, PIXELS).result()
        held = held_threads()
        assert sorted(held[thread] for thread in held.keys() - before) == CORES[1:]
    assert computing.submit(torch.get_num_threads).result() == len(CORES)


def test_a_thread_may_compute_other_things_first(computing: ThreadPoolExecutor) -> None:
    before = held_threads()
    model = computing.submit(on_own_cores, work, len(CORES), by_this_thread=True).result()
    computing.submit(work, PIXELS).result()
    for _ in range(2):
        computing.submit(model, PIXELS).result()
        held = held_threads()
        assert sorted(held[thread] for thread in held.keys() - before) == CORES[1:]


def test_a_worker_that_has_all_cores_keeps_its_threads_apart(
    computing: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Its thread stacks a batch before it first computes, which takes several threads."""
    before = held_threads()
    worker = computing.submit(Worker, stage(tmp_path), threads=len(CORES)).result()
    image = encode(quadrants().resize((400, 400)), "PNG")
    computing.submit(torch.ones, 1_000_000).result()
    computing.submit(worker.ask, image).result()
    held = held_threads()
    assert sorted(held[thread] for thread in held.keys() - before) == CORES[1:]


def test_whoever_calls_is_held_as_long_as_it_computes(computing: ThreadPoolExecutor) -> None:
    model = on_own_cores(where, len(CORES))
    computing.submit(model, PIXELS).result()
    assert computing.submit(model, PIXELS).result().tolist() == CORES[:1]
    assert computing.submit(where, PIXELS).result().tolist() == CORES


def test_a_model_that_fails_leaves_nobody_held(computing: ThreadPoolExecutor) -> None:
    model = on_own_cores(plain, len(CORES))
    computing.submit(model, PIXELS).result()
    with pytest.raises(TypeError):
        computing.submit(model, None).result()
    assert computing.submit(where, PIXELS).result().tolist() == CORES


def test_nobody_is_held_whose_helpers_are_replaced(computing: ThreadPoolExecutor) -> None:
    def freeing(pixels: torch.Tensor) -> torch.Tensor:
        for thread in held_threads():
            os.sched_setaffinity(thread, CORES)
        return where(pixels)

    model = on_own_cores(freeing, len(CORES))
    computing.submit(model, PIXELS).result()
    assert computing.submit(model, PIXELS).result().tolist() == CORES


def test_nobody_is_held_whose_helpers_were_free_before(computing: ThreadPoolExecutor) -> None:
    computing.submit(torch.set_num_threads, len(CORES)).result()
    computing.submit(work, PIXELS).result()
    model = on_own_cores(where, len(CORES))
    computing.submit(model, PIXELS).result()
    assert computing.submit(model, PIXELS).result().tolist() == CORES


def test_cores_that_others_might_choose_are_not_taken() -> None:
    for threads in (1, len(CORES) + 1):
        assert on_own_cores(plain, threads) is plain


def test_where_it_is_forbidden_the_model_computes_as_it_did(
    computing: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(task: int, mask: set[int]) -> None:
        raise PermissionError(1, "sched_setaffinity")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    model = on_own_cores(plain, len(CORES))
    for _ in range(2):
        assert torch.equal(computing.submit(model, PIXELS).result(), PIXELS + 1)
