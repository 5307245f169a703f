"""CUDA graphs: a model's launches recorded once per batch size, and replayed as one.

At small batches a GPU waits for the CPU to launch its kernels one by one; a replay is one launch.
See docs.pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs".
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from handlers.image_spec import ImageSpec

logger = logging.getLogger(__name__)

# Before a recording, TorchScript compiles what it runs, and cuDNN chooses its algorithms.
WARM_UP_RUNS = 3


class Record(Protocol):
    """Records what a device does."""

    def __call__(
        self, run: Callable[[], torch.Tensor]
    ) -> tuple[Callable[[], object], torch.Tensor]:
        """Record a run.

        Args:
            run: Works on the same tensors each time.

        Returns:
            What does it again, and the tensor that each time holds the result.

        Raises:
            RuntimeError: It cannot be recorded.
        """


class Graph(NamedTuple):
    """One recorded batch size.

    Attributes:
        pixels: Shape (size, C, crop, crop), uint8: what a replay reads.
        logits: Shape (size, classes): what it writes.
        replay: Runs it.
    """

    pixels: torch.Tensor
    logits: torch.Tensor
    replay: Callable[[], object]


class GraphModel:
    """A model that is recorded in some batch sizes, each when it first comes.

    A batch of another size is padded to the next one. If a size cannot be recorded, that is
    logged, and the model runs as it would without graphs.

    Args:
        model: From pixels (N, C, crop, crop), uint8, to logits (N, classes).
        spec: What the model expects.
        device: Where it is.
        sizes: To record; a larger batch is not recorded.
        record: How; `CudaRecorder` on a GPU.
    """

    def __init__(
        self,
        model: Callable[[torch.Tensor], torch.Tensor],
        spec: ImageSpec,
        device: torch.device,
        sizes: Sequence[int],
        record: Record,
    ) -> None:
        self._model = model
        self._image = (spec.channels, spec.crop, spec.crop)
        self._device = device
        self._sizes = sorted(sizes)
        self._record = record
        self._graphs: dict[int, Graph] = {}

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Give the logits (N, classes) of pixels (N, C, crop, crop), uint8, on the device.

        They are a copy, which the next call does not change.
        """
        count = len(pixels)
        graph = self._graph(count)
        if graph is None:
            return self._model(pixels)
        graph.pixels[:count].copy_(pixels, non_blocking=True)
        graph.replay()
        return graph.logits[:count].clone()

    def _graph(self, count: int) -> Graph | None:
        size = next((size for size in self._sizes if size >= count), None)
        if size is None:
            return None
        if size not in self._graphs:
            try:
                self._graphs[size] = self._recorded(size)
            except RuntimeError as err:
                logger.warning("batches run without graphs, since one cannot be recorded: %s", err)
                self._sizes = []
                self._graphs.clear()
                return None
        return self._graphs[size]

    def _recorded(self, size: int) -> Graph:
        pixels = torch.zeros(size, *self._image, dtype=torch.uint8, device=self._device)
        replay, logits = self._record(lambda: self._model(pixels))
        return Graph(pixels, logits, replay)


class CudaRecorder:
    """Records on a GPU.

    All recordings share one pool of memory: they never run side by side, and each one's logits
    are copied out before the next one runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(
        self, run: Callable[[], torch.Tensor]
    ) -> tuple[Callable[[], object], torch.Tensor]:
        """Record a run, as `Record` says."""
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                run()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph, pool=self._pool):
            logits = run()
        return graph.replay, logits
