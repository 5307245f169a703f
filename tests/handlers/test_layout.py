from __future__ import annotations

import pytest

from handlers.layout import lay_out


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "line"),
    [
        (2, None, None, "2 workers of 1 thread each on 2 usable cores"),
        (8, 2, None, "2 workers of 4 threads each on 8 usable cores"),
        (1, 4, None, "4 workers of 1 thread each on 1 usable core"),
        (4, None, 2, "4 workers of 2 threads each on 4 usable cores"),
    ],
)
def test_the_cores_are_shared_out(
    cores: int, workers: int | None, threads: int | None, line: str
) -> None:
    assert str(lay_out(cores, workers, threads)) == line


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (4, 4), (64, 8)])
def test_few_images_do_not_take_too_many(cores: int, threads: int) -> None:
    assert lay_out(cores).most_threads == threads


def test_more_threads_than_cores_are_warned_of() -> None:
    assert lay_out(4, 2, 2).warning is None
    warning = lay_out(4, None, 2).warning
    assert warning is not None
    assert "4 workers of 2 threads want 8 cores, 4 may be used" in warning
