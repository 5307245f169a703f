"""In what numbers a model computes, and whether this processor is fast at them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

Precision = Literal["fp32", "bf16", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# The instructions that make a precision faster than fp32, as the kernel names them: x86, then ARM.
# Without one of them oneDNN emulates it, which is slower than fp32.
INSTRUCTIONS: dict[Precision, frozenset[str]] = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}),
    "fp16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
    "int8": frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}),
}

_CPUINFO = Path("/proc/cpuinfo")


def processor_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Read what the first processor can do; empty where the kernel does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return frozenset()
    flags = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(flags, "").split())


def fast_precisions(flags: frozenset[str]) -> tuple[Precision, ...]:
    """Give the precisions that a processor with these flags has instructions for.

    Args:
        flags: What ``processor_flags`` read.

    Returns:
        In the order of ``PRECISIONS``; fp32 is always among them.
    """
    return tuple(p for p in PRECISIONS if p == "fp32" or flags & INSTRUCTIONS[p])


def slow_precision_warning(precision: Precision, flags: frozenset[str]) -> str | None:
    """Say that a precision is slow here, and what to do; None where it is not, or not known."""
    if not flags or precision in fast_precisions(flags):
        return None
    wanted = ", ".join(sorted(INSTRUCTIONS[precision]))
    return (
        f"precision {precision} is slower than fp32 on this processor, which has none of {wanted}: "
        "export with serve.precision=fp32 for it"
    )
