"""The recipe's ``serve:``: how TorchServe runs the model."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from handlers.image_spec import ImageLimits
from marina.recipe.section import Section


class Serve(Section):
    """How TorchServe runs the model.

    Attributes:
        workers: Processes per model, each with its own copy; the cores are shared out among them.
        batch_size: Most requests in one forward pass.
        max_batch_delay_ms: How long a request may wait for mates. A lone request waits it out.
        queue_size: Requests that may wait; one more is refused.
        response_timeout_s: After so long a batch is given up and its worker restarted.
        startup_timeout_s: For loading, warming and the replay of the golden images.
        top_k: Classes in an answer, at most as many as there are.
        format: ``stock`` is TorchServe's ``{label: probability}``; ``detailed`` names the model,
            its version and each class's index.
        limits: Images beyond these are refused with 413 before a pixel is decoded.
    """

    workers: PositiveInt = 1
    batch_size: PositiveInt = 1
    max_batch_delay_ms: NonNegativeInt = 0
    queue_size: PositiveInt = 100
    response_timeout_s: PositiveInt = 60
    startup_timeout_s: PositiveInt = 120
    top_k: PositiveInt = 5
    format: Literal["stock", "detailed"] = "stock"
    limits: ImageLimits = ImageLimits()
