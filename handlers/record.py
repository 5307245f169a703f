"""What happened to one batch: how long each stage took, and how its items fared."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.pipeline import Loaded

Stage = Literal["decode", "preprocess", "inference", "explanation", "postprocess"]

# Set where a server counts from the batches' lines (`handlers.metrics`): each of TorchServe's own
# metrics would be one more.
VARIABLE = "MARINA_COUNTS_BATCHES"

# TorchServe answers a whole batch with 503 or 507 when the handler raises.
FAILED_BATCH = "5xx"


@dataclass(slots=True)
class BatchRecord:
    """One batch; its clock starts when it is made.

    Attributes:
        size: Requests in the batch.
        seconds: Wall time of each stage that ran; together they are the batch's time.
        errors: Number of items by the status of their answer, 200 left out.
    """

    size: int
    seconds: dict[Stage, float] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    _since: float = field(default_factory=perf_counter)

    def stop(self, stage: Stage) -> None:
        """Count the time since the last stage's end to this one."""
        self._count(stage, self._elapsed())

    def stop_loading(self, images: Sequence[Loaded]) -> None:
        """Share out the time since the last stage's end between decoding and resizing.

        Both run side by side in threads, so that only the time of the whole is wall time; it is
        divided in the proportion of what the images took.
        """
        elapsed = self._elapsed()
        decode_s = sum(image.decode_s for image in images)
        total_s = decode_s + sum(image.resize_s for image in images)
        share = decode_s / total_s if total_s else 1.0
        self._count("decode", elapsed * share)
        self._count("preprocess", elapsed * (1 - share))

    def refuse(self, status: int) -> None:
        """Count an item that was answered with an error of its own."""
        self.errors[str(status)] += 1

    def fail(self) -> None:
        """Count every item as answered with an error of TorchServe's."""
        self.errors = Counter({FAILED_BATCH: self.size})

    def _count(self, stage: Stage, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def _elapsed(self) -> float:
        now = perf_counter()
        elapsed, self._since = now - self._since, now
        return elapsed
