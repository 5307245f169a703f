from __future__ import annotations

from pathlib import Path

import pytest

from handlers.precision import fast_precisions, processor_flags, slow_precision_warning


@pytest.mark.parametrize(
    ("line", "fast"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_int8", ("fp32", "bf16", "int8")),
        ("Features\t: fp asimd asimdhp asimddp bf16", ("fp32", "bf16", "fp16", "int8")),
        ("flags\t\t: fpu sse2 avx2", ("fp32",)),
    ],
)
def test_a_processor_tells_what_it_is_fast_at(
    tmp_path: Path, line: str, fast: tuple[str, ...]
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\nbugs\t\t:\n\nprocessor\t: 1\n{line}\n")
    assert fast_precisions(processor_flags(cpuinfo)) == fast


def test_a_slow_precision_is_named_with_its_cure(tmp_path: Path) -> None:
    warning = slow_precision_warning("bf16", frozenset({"avx2"}))
    assert warning is not None
    assert "bf16 is slower than fp32 on this processor" in warning
    assert "serve.precision=fp32" in warning
    assert slow_precision_warning("bf16", frozenset({"amx_bf16"})) is None
    assert slow_precision_warning("fp32", frozenset({"avx2"})) is None
    assert slow_precision_warning("bf16", processor_flags(tmp_path / "none")) is None
