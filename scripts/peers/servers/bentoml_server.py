"""BentoML with workers and adaptive batching (docs.bentoml.com, "Adaptive batching").

bentoml serve bentoml_server:Classifier --port PORT --host 127.0.0.1
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import bentoml
import pipelines
from bentoml.validators import ContentType


@bentoml.service(workers=pipelines.WORKERS, traffic={"timeout": 120, "max_concurrency": 64})
class Classifier:
    """Images come as files in a form."""

    def __init__(self) -> None:
        self.pipeline = pipelines.load()

    @bentoml.api(
        batchable=True,
        max_batch_size=pipelines.BATCH,
        max_latency_ms=60_000,
    )
    def predict(self, images: list[Annotated[Path, ContentType("image/jpeg")]]) -> list[dict]:
        """Answer a batch."""
        return [json.loads(a) for a in self.pipeline.answer([p.read_bytes() for p in images])]
