"""A model that torch's Inductor compiled ahead of time (AOTInductor): no compiler is needed here.

It is machine code for the processor that it was compiled on, and for this version of torch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from handlers.errors import BackendUnavailable
from handlers.precision import processor_flags

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What stands in a package beside what torch writes there.
INSTRUCTIONS_KEY, TORCH_KEY = "marina_instructions", "marina_torch"

# Flags of /proc/cpuinfo that a C++ compiler takes for -march=native, by their beginnings.
_FOR_COMPILERS = re.compile(
    r"(sse|ssse|avx|amx|fma|f16c|bmi|abm|movbe|popcnt|aes|sha|vaes|vpclmul|gfni|adx|asimd|sve|i8mm|bf16)"
)


def instructions() -> frozenset[str]:
    """Give this processor's flags that compiled code may depend on."""
    return frozenset(flag for flag in processor_flags() if _FOR_COMPILERS.match(flag))


def load(file: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Load the machine code.

    Args:
        file: A package, from pixels (N, C, crop, crop), uint8, to logits (N, classes).

    Returns:
        The model; it takes torch's own number of threads.

    Raises:
        BackendUnavailable: It was compiled for another processor or another torch.
    """
    # torch._inductor.aoti_load_package does the same, and imports the whole compiler for it.
    from torch._C._aoti import AOTIModelPackageLoader

    read_metadata = AOTIModelPackageLoader.load_metadata_from_package  # type: ignore[attr-defined]
    check(read_metadata(str(file), "model"))
    # Its last three: several threads may run it, on one copy of the weights, on no numbered device.
    package = AOTIModelPackageLoader(str(file), "model", False, 1, -1)

    def answer(pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = package.run([pixels.contiguous()])[0]
        return logits  # (N, classes)

    return answer


def check(said: dict[str, str]) -> None:
    """Refuse a package of another torch, or for instructions that this processor has not.

    Raises:
        BackendUnavailable: It is one.
    """
    if said.get(TORCH_KEY) != torch.__version__:
        raise BackendUnavailable(
            f"the model was compiled by torch {said.get(TORCH_KEY)}, this worker has "
            f"{torch.__version__}: export and archive it again with this one"
        )
    missing = set(said.get(INSTRUCTIONS_KEY, "").split()) - instructions()
    if missing:
        raise BackendUnavailable(
            "the model was compiled for another processor, with instructions that this one has "
            f"not: {', '.join(sorted(missing))}. Export it on a machine like this one, or with "
            "serve.backend=torchscript, which runs anywhere"
        )
