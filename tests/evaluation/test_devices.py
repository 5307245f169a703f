from __future__ import annotations

from typing import Any

import pytest
import torch

from marina.errors import TrainError
from marina.train.evaluation import evaluate
from marina.train.run import Run

DEVICES: list[Any] = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_gives_the_same_answers_and_its_throughput(
    quick_run: Run, device: str
) -> None:
    evaluation = evaluate(quick_run, "val", device)
    assert evaluation.logits.device.type == "cpu"
    on_cpu = evaluate(quick_run, "val").logits
    torch.testing.assert_close(evaluation.logits, on_cpu, atol=0.05, rtol=0)
    speed = evaluation.throughput
    assert speed.device == device
    assert 0 < speed.images_per_s < speed.network_images_per_s


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(quick_run: Run) -> None:
    with pytest.raises(TrainError, match="torch sees no GPU"):
        evaluate(quick_run, "val", "cuda")
