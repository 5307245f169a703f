"""The threads of a forward pass keep to a core each."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

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


def threads() -> set[int]:
    """Give this process's."""
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def held_cores(others: set[int]) -> list[int]:
    """Give the core of each thread, but for some, that is held to one."""
    masks = [os.sched_getaffinity(thread) for thread in threads() - others]
    return sorted(next(iter(mask)) for mask in masks if len(mask) == 1)


def work(_: torch.Tensor) -> torch.Tensor:
    """Compute what takes all threads."""
    return torch.ones(len(CORES) * 100_000).add_(1).sum()


def test_helpers_have_a_core_each_and_keep_it(computing: ThreadPoolExecutor) -> None:
    before = threads()
    model = computing.submit(on_own_cores, work, len(CORES)).result()
    for _ in range(3):
        computing.submit(model, PIXELS).result()
        assert held_cores(before) == CORES[1:]
    assert computing.submit(torch.get_num_threads).result() == len(CORES)


def test_whoever_calls_comes_to_the_core_that_is_left_and_is_free_to_leave(
    computing: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = computing.submit(on_own_cores, plain, len(CORES)).result()
    masks: list[set[int]] = []
    real = os.sched_setaffinity

    def watched(task: int, mask: set[int]) -> None:
        real(task, mask)
        masks.append(os.sched_getaffinity(0))

    monkeypatch.setattr(os, "sched_setaffinity", watched)
    assert torch.equal(computing.submit(model, PIXELS).result(), PIXELS + 1)
    assert masks == [{CORES[0]}, set(CORES)]


def test_cores_that_others_might_choose_are_not_taken(computing: ThreadPoolExecutor) -> None:
    assert computing.submit(on_own_cores, plain, 1).result() is plain
    assert computing.submit(on_own_cores, plain, len(CORES) + 1).result() is plain


def test_where_it_is_forbidden_the_model_computes_as_it_did(
    computing: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = computing.submit(on_own_cores, plain, len(CORES)).result()

    def forbidden(task: int, mask: set[int]) -> None:
        raise PermissionError(1, "sched_setaffinity")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    assert torch.equal(computing.submit(model, PIXELS).result(), PIXELS + 1)
    assert computing.submit(on_own_cores, plain, len(CORES)).result() is plain
