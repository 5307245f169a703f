"""Which library computes a model, in which file, in which precisions.

Only the standard library is imported here: the recipe reads these names too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, get_args

from handlers.errors import BackendUnavailable

if TYPE_CHECKING:
    from types import ModuleType

    from handlers.precision import Precision

Backend = Literal["torchscript", "inductor", "onnxruntime", "openvino"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

# A backend's file in a run and in an archive.
FILES: dict[Backend, str] = {
    "torchscript": "model.pt",
    "inductor": "served.pt2",
    "onnxruntime": "served.onnx",
    "openvino": "served.onnx",
}

# Those that compute in threads of their own, which they start as they load.
KEEP_THREADS: frozenset[Backend] = frozenset({"onnxruntime", "openvino"})

# What each computes in on a CPU: onnxruntime has no bf16 kernels for x86.
SUPPORTED: dict[Backend, tuple[Precision, ...]] = {
    "torchscript": ("fp32", "bf16", "fp16", "int8"),
    "inductor": ("fp32", "bf16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}


def needs_cpu(backend: Backend, precision: Precision) -> bool:
    """Tell whether a model computes on a CPU alone."""
    return backend != "torchscript" or precision == "int8"


def unsupported(backend: Backend, precision: Precision) -> str:
    """Say that a backend does not compute in a precision, and which do."""
    others = [other for other in BACKENDS if precision in SUPPORTED[other]]
    return (
        f"backend {backend} computes in {', '.join(SUPPORTED[backend])}, not in {precision}: "
        f"choose one of these, or backend {' or '.join(others)}"
    )


def require(package: str) -> ModuleType:
    """Import a backend's package.

    Raises:
        BackendUnavailable: It is not there, or does not load.
    """
    try:
        return import_module(package)
    except ImportError as err:
        raise BackendUnavailable(
            f"backend {package} needs the package {package}, which this environment does not have "
            f"({err}): install it beside torchserve (uv sync --extra {package}, or "
            f"pip install 'marina[{package}]'), or export with serve.backend=torchscript"
        ) from err
