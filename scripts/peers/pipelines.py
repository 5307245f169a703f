"""What every peer computes: its natural pipeline, or ours. It runs in the peer's environment.

PEERS_PIPELINE  ``natural``: Pillow, torchvision's transforms, the TorchScript file as it is, as the
                peers' own examples do. ``ours``: the handler of our archive.
PEERS_MODEL     the TorchScript file
PEERS_ARCHIVE   our archive, unpacked
PEERS_WORKERS   processes that share the machine; each takes its part of the cores
PEERS_BATCH     most images in one call
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image

from handlers.cores import usable_cores

WORKERS = int(os.environ.get("PEERS_WORKERS", "1"))
BATCH = int(os.environ.get("PEERS_BATCH", "1"))
MAX_WAIT_MS = 5.0


class Pipeline(Protocol):
    """Image files in, JSON answers out."""

    def answer(self, images: Sequence[bytes]) -> list[bytes]:
        """Answer a batch."""


class Natural:
    """What a user writes who follows the peer's and torchvision's examples."""

    def __init__(self) -> None:
        from torchvision import transforms

        torch.set_num_threads(max(1, usable_cores() // WORKERS))
        self._model = torch.jit.load(os.environ["PEERS_MODEL"]).eval()
        self._transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def answer(self, images: Sequence[bytes]) -> list[bytes]:
        """Answer a batch."""
        decoded = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
        batch = torch.stack([self._transform(image) for image in decoded])  # (N, 3, 224, 224)
        with torch.inference_mode():
            best = self._model(batch).softmax(dim=1).topk(5, dim=1)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [json.dumps(dict(zip(*row, strict=True))).encode() for row in rows]


class Ours:
    """The handler of our archive. TorchServe calls it from one thread; here a lock sees to it."""

    def __init__(self) -> None:
        from marina.bench.handler import PackedHandler

        self._lock = threading.Lock()
        self._handler = PackedHandler(
            Path(os.environ["PEERS_ARCHIVE"]), workers=WORKERS, batch_size=BATCH
        )

    def answer(self, images: Sequence[bytes]) -> list[bytes]:
        """Answer a batch."""
        with self._lock:
            return self._handler.answer(images)


def load() -> Pipeline:
    """Load the pipeline that the environment names."""
    return Ours() if os.environ["PEERS_PIPELINE"] == "ours" else Natural()
