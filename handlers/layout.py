"""How the cores of a machine are shared out among a model's workers."""

from __future__ import annotations

from dataclasses import dataclass

# With more, the threads of one image wait for each other longer than they compute.
_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """One model's processes and threads.

    Attributes:
        cores: That may be used, see ``cores.usable_cores``.
        workers: Processes of the model.
        threads: Of each worker: for one forward pass, and for decoding the images of a batch.
    """

    cores: int
    workers: int
    threads: int

    @property
    def most_threads(self) -> int:
        """Of a forward pass while no other worker computes, see ``handlers.spread``."""
        return min(self.cores, _MOST_THREADS)

    @property
    def warning(self) -> str | None:
        """What is wrong with it and what to do; None where nothing is."""
        if self.workers * self.threads <= self.cores:
            return None
        return (
            f"{self.workers} workers of {self.threads} threads want "
            f"{self.workers * self.threads} cores, {self.cores} may be used: they wait for each "
            "other inside of each forward pass, which takes several times as long. Lower "
            "serve.workers or serve.threads, or leave them out"
        )

    def __str__(self) -> str:
        """Say it in a line of the worker's log or of ``marina doctor``."""
        return (
            f"{_count(self.workers, 'worker')} of {_count(self.threads, 'thread')} each "
            f"on {_count(self.cores, 'usable core')}"
        )


def lay_out(cores: int, workers: int | None = None, threads: int | None = None) -> Layout:
    """Share out the cores.

    A worker per core with one thread each is what serves most: threads of one forward pass wait
    for each other at the end of every layer, and for as long as another process holds one of
    their cores. Fewer workers with several threads each answer a lone request sooner.

    Args:
        cores: That may be used.
        workers: Of the model; None is one per core.
        threads: Of each worker; None shares the cores out among the workers.

    Returns:
        The layout, never with less than one thread a worker.
    """
    workers = workers or cores
    return Layout(cores, workers, threads or max(1, cores // workers))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
