"""One process of the in-process limit: the archive's handler, batch after batch.

    python -m marina.bench.inprocess UNPACKED_MAR IMAGES.json WORKERS BATCH_SIZE SECONDS

It says ``ready`` when the model is loaded, begins at a line on stdin, and ends with a line of JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path

import yaml

from marina.bench.handler import PackedHandler


def main() -> None:
    """Answer batches for so many seconds, and count."""
    folder, images, workers, batch_size, seconds = sys.argv[1:]
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the handler prints shall not come between
    handler = PackedHandler(
        Path(folder), workers=int(workers), batch_size=int(batch_size), gpu_id=_gpu(Path(folder))
    )
    files = [Path(name).read_bytes() for name in json.loads(Path(images).read_text())]
    turn = itertools.cycle(files)
    batch = [next(turn) for _ in range(int(batch_size))]
    answers = handler.answer(batch)
    if any(b'"code"' in answer[:40] for answer in answers):
        sys.exit(f"the handler refuses an image: {answers!r}")
    lines.write("ready\n")
    lines.flush()
    sys.stdin.readline()
    began, cpu_s, latencies_ms = time.perf_counter(), time.process_time(), []
    while (since := time.perf_counter()) - began < float(seconds):
        batch = [next(turn) for _ in range(int(batch_size))]
        handler.answer(batch)
        latencies_ms.append((time.perf_counter() - since) * 1e3)
    spent_s = time.perf_counter() - began
    said = {
        "answers": len(latencies_ms) * int(batch_size),
        "seconds": spent_s,
        "cpu_s": time.process_time() - cpu_s,
        "p50_ms": sorted(latencies_ms)[len(latencies_ms) // 2],
    }
    lines.write(json.dumps(said) + "\n")
    lines.flush()


def _gpu(folder: Path) -> int | None:
    import torch

    device = yaml.safe_load((folder / "model-config.yaml").read_text()).get("deviceType")
    return 0 if torch.cuda.is_available() and device != "cpu" else None


if __name__ == "__main__":
    main()
