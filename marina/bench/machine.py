"""The machine and the versions that a result was measured with."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from handlers.cores import usable_cores
from marina.train.run import environment

# Instruction sets that decide how fast a network runs on a CPU.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def describe() -> dict[str, Any]:
    """Give CPU, cores, memory, load, kernel and versions."""
    from importlib.metadata import version

    model, flags = _cpu()
    return {
        "cpu": model,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "usable_cores": usable_cores(),
        "host_cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_average_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "torchserve": version("torchserve"),
        "locust": version("locust"),
        **environment(),
    }


def _cpu() -> tuple[str, set[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return platform.processor() or platform.machine(), set()
    lines = [line.partition(":") for line in text.splitlines()]
    values = {name.strip(): value.strip() for name, _, value in lines}
    return values.get("model name", platform.machine()), set(values.get("flags", "").split())
