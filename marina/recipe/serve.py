"""The recipe's ``serve:``: how TorchServe runs the model."""

from __future__ import annotations

from typing import Literal, Self

import pydantic
from pydantic import PositiveInt

from handlers.backend import SUPPORTED, Backend, unsupported
from handlers.image_spec import ImageLimits
from handlers.precision import Precision
from marina.recipe.section import Fraction, Section


class Serve(Section):
    """How TorchServe runs the model.

    Attributes:
        workers: Processes per model, each with its own copy. None is one per core of the machine
            that serves, in its container: what serves most, see ``handlers/layout.py``.
        threads: Of each worker, for a forward pass and for decoding. None shares the cores out
            among the workers.
        batch_size: Most requests in one forward pass.
        max_batch_delay_ms: How long a request may wait for mates. A lone request waits it out, so
            keep it at 1: batches form by themselves of what comes while the workers compute.
            (0 is refused: TorchServe 0.12 takes it for its default, 100.)
        queue_size: Requests that may wait; one more is refused.
        response_timeout_s: After so long a batch is given up and its worker restarted.
        startup_timeout_s: For loading, warming and the replay of the golden images.
        top_k: Classes in an answer, at most as many as there are.
        format: ``stock`` is TorchServe's ``{label: probability}``; ``detailed`` names the model,
            its version and each class's index.
        precision: In what numbers the exported model computes. ``bf16``, ``fp16`` and ``int8`` are
            faster where the processor has instructions for them, see ``marina doctor``. int8 is
            calibrated on training images and runs on CPUs only.
        backend: Which library computes the model. ``torchscript`` is torch's own and runs anywhere.
            ``onnxruntime`` and ``openvino`` need their package where the model is exported and
            where it is served; ``inductor`` needs a C++ compiler at the export, and serves on
            processors like that machine's. These three are for CPUs. Which precisions each has
            stands in ``handlers/backend.py``.
        torchscript: How the export becomes TorchScript: ``trace`` records what the network does to
            one batch; ``script`` compiles its source, for a network whose way depends on the image.
            Goes with fp32 only.
        max_accuracy_loss: Most top-1 accuracy that a precision other than fp32 may lose on the
            test images, as a share of them; without labels, most top-1 answers that may change.
        winograd: Whether a CPU computes 3x3 convolutions by Winograd's algorithm, in fp32 with the
            torchscript backend and one thread a worker: fewer multiplications, and logits that move
            by about 1e-5. The export does without where they move too far.
        spread: Whether an image that comes alone, or a pair, is computed on all cores (8 at most)
            while no other worker computes: under ``marina serve``, on a CPU, with the torchscript
            backend, if the model takes 5 ms or more. Its logits differ by as little as with the
            batch size.
        gpu_decode: Whether a worker on a GPU decodes JPEGs there, if ``image.decode`` is fast. It
            turns this off itself where that changes the top-1 of a golden image.
        graphs: Whether a worker on a GPU records CUDA graphs, one per batch size.
        explanations: Whether ``/explanations`` is answered; one costs fifty predictions.
        limits: Images beyond these are refused with 413 before a pixel is decoded.
    """

    workers: PositiveInt | None = None
    threads: PositiveInt | None = None
    batch_size: PositiveInt = 1
    max_batch_delay_ms: PositiveInt = 1
    queue_size: PositiveInt = 100
    response_timeout_s: PositiveInt = 60
    startup_timeout_s: PositiveInt = 120
    top_k: PositiveInt = 5
    format: Literal["stock", "detailed"] = "stock"
    precision: Precision = "fp32"
    backend: Backend = "torchscript"
    torchscript: Literal["trace", "script"] = "trace"
    max_accuracy_loss: Fraction = 0.01
    winograd: bool = True
    spread: bool = True
    gpu_decode: bool = True
    graphs: bool = True
    explanations: bool = False
    limits: ImageLimits = ImageLimits()

    @pydantic.model_validator(mode="after")
    def _check_backend(self) -> Self:
        if self.precision not in SUPPORTED[self.backend]:
            raise ValueError(unsupported(self.backend, self.precision))
        return self

    @pydantic.model_validator(mode="after")
    def _check_torchscript(self) -> Self:
        if self.torchscript == "script" and self.backend != "torchscript":
            raise ValueError("`torchscript: script` goes with `backend: torchscript` only")
        if self.torchscript == "script" and self.precision != "fp32":
            raise ValueError("`torchscript: script` goes with `precision: fp32`; others are traced")
        return self
