"""Recorded batch sizes: padding, copies, and what happens when one cannot be recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from handlers.graphs import CudaRecorder, GraphModel, Record
from handlers.image_spec import ImageSpec

SPEC = ImageSpec(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DEVICES = [pytest.param("cpu")]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))


class Recorder:
    """Records as a GPU does: a replay reads and writes the same tensors each time."""

    def __init__(self, device: str) -> None:
        self._record: Record | None = (
            CudaRecorder(torch.device(device)) if "cuda" in device else None
        )
        self.sizes: list[int] = []

    def __call__(
        self, run: Callable[[], torch.Tensor]
    ) -> tuple[Callable[[], object], torch.Tensor]:
        self.sizes.append(len(run()))
        if self._record is not None:
            return self._record(run)
        logits = run().clone()
        return lambda: logits.copy_(run()), logits


def model(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float().mean(dim=(2, 3))  # (N, C)


def images(count: int, device: str = "cpu") -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8).to(device)


@pytest.mark.parametrize("device", DEVICES)
def test_every_batch_answers_as_the_model_does(device: str) -> None:
    recorder = Recorder(device)
    graphs = GraphModel(model, SPEC, torch.device(device), (4, 1, 2), recorder)
    batches = [images(count, device) for count in (3, 1, 2, 4, 3, 5)]
    answers = [graphs(batch) for batch in batches]
    for batch, answer in zip(batches, answers, strict=True):  # none was overwritten by a later one
        torch.testing.assert_close(answer, model(batch))
    assert recorder.sizes == [4, 1, 2]  # each when it first came; 3 took the one of 4, 5 took none


def test_without_a_recording_the_model_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    attempts = []

    def refuse(run: Callable[[], torch.Tensor]) -> tuple[Callable[[], object], torch.Tensor]:
        attempts.append(run)
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs = GraphModel(model, SPEC, torch.device("cpu"), (2, 4), refuse)
    for count in (1, 2, 4):
        batch = images(count)
        torch.testing.assert_close(graphs(batch), model(batch))
    assert len(attempts) == 1
    assert "cannot be recorded: operation not permitted" in caplog.text
