"""Few images go to all cores while no other worker computes; everything else does not."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest
import torch

from handlers.spread import PATIENCE, Spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ONE = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
TWO = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
THREE = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)

HOLDER = """
import sys
from pathlib import Path
import torch
from handlers.spread import PATIENCE, Spread

def narrow(pixels):
    print("computes", flush=True)
    sys.stdin.read()

Spread(narrow, narrow, 2, Path(sys.argv[1]))(torch.zeros(2, 3, 4, 4))
"""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The number of threads is the process's as well as each thread's."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Model:
    """Says which of the two computed, and in how many threads."""

    def __init__(self, folder: Path):
        self.calls: list[tuple[str, int]] = []
        self.spread = Spread(self._named("narrow"), self._named("wide"), 3, folder)
        torch.set_num_threads(1)

    def ask(self, pixels: torch.Tensor) -> tuple[str, int]:
        assert torch.equal(self.spread(pixels), pixels + 1)
        return self.calls[-1]

    def calmed(self) -> Model:
        """Have as many batches behind it as it wants to find the others idle."""
        for _ in range(PATIENCE):
            self.ask(ONE)
        return self

    def _named(self, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def model(pixels: torch.Tensor) -> torch.Tensor:
            self.calls.append((name, torch.get_num_threads()))
            return pixels + 1

        return model


class Slow:
    """A model that computes until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.ended = Event(), Event()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.begun.set()
        self.ended.wait(20)
        return pixels


def test_few_images_are_spread_and_more_are_not(tmp_path: Path) -> None:
    model = Model(tmp_path).calmed()
    assert model.calls == [("narrow", 1)] * PATIENCE
    assert model.ask(ONE) == model.ask(TWO) == ("wide", 3)
    assert model.ask(THREE) == ("narrow", 1)
    with ThreadPoolExecutor(1) as another:
        assert another.submit(torch.get_num_threads).result() == 1


def test_a_large_batch_ends_the_calm(tmp_path: Path) -> None:
    model = Model(tmp_path).calmed()
    model.ask(THREE)
    assert [model.ask(ONE)[0] for _ in range(PATIENCE + 1)] == ["narrow"] * PATIENCE + ["wide"]


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_is_spread_while_another_computes(tmp_path: Path, count: int) -> None:
    """The other holds the lock, alone or not; nobody waits for it."""
    slow = Slow()
    other, model = Spread(slow, slow, 2, tmp_path), Model(tmp_path).calmed()
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(other, torch.zeros(count, 3, 4, 4))
        assert slow.begun.wait(20)
        assert model.ask(ONE) == model.ask(TWO) == ("narrow", 1)
        slow.ended.set()
        pending.result()
    assert model.calmed().ask(ONE) == ("wide", 3)


def test_who_comes_amid_a_spread_image_is_seen_by_the_next(tmp_path: Path) -> None:
    """The other begins while this one computes on all cores, and is at it when it is done."""
    slow = Slow()
    other, model = Spread(slow, slow, 2, tmp_path), Model(tmp_path).calmed()
    with ThreadPoolExecutor(1) as pool:

        def amid(pixels: torch.Tensor) -> torch.Tensor:
            pool.submit(other, THREE)
            assert slow.begun.wait(20)
            return pixels

        spreading = Spread(lambda pixels: pixels, amid, 2, tmp_path)
        for _ in range(PATIENCE + 1):
            spreading(ONE)
        assert model.ask(ONE) == ("narrow", 1)
        slow.ended.set()
    assert model.calmed().ask(ONE) == ("wide", 3)


def test_a_worker_that_dies_takes_its_lock_along(tmp_path: Path) -> None:
    model = Model(tmp_path).calmed()
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"computes\n"
        assert model.ask(ONE) == ("narrow", 1)
        worker.kill()
        worker.wait()
    assert model.calmed().ask(ONE) == ("wide", 3)


def test_a_model_that_fails_lets_others_compute(tmp_path: Path) -> None:
    def broken(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")

    failing, model = Spread(broken, broken, 2, tmp_path), Model(tmp_path)
    for _ in range(PATIENCE + 1):  # the last on all cores
        with pytest.raises(RuntimeError, match="broken"):
            failing(ONE)
    assert model.calmed().ask(ONE) == ("wide", 3)


def test_the_model_runs_without_gradients(tmp_path: Path) -> None:
    weight = torch.ones(1, requires_grad=True)
    spread = Spread(lambda x: x * weight, lambda x: x * weight, 2, tmp_path)
    with torch.inference_mode():
        assert not any(spread(ONE).requires_grad for _ in range(PATIENCE + 1))
