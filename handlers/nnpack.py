"""Convolutions of 3x3 by NNPACK, which is a part of torch's library: Winograd's F(6x6, 3x3).

It turns 324 multiplications into 64, in loops of its own that stay in a core's cache, where
`handlers.winograd` is made of torch's operations and turns 144 into 36. In return it transforms
each image by itself, and so fetches its weights, seven times as large as they were, once for each:
with many channels and few pixels that is what takes longest.

torch has an operator for it, `torch._nnpack_spatial_convolution`, which transforms the weights in
each call. So NNPACK's own function is called: ``nnp_convolution_inference`` of its ``nnpack.h``,
unchanged since 2017. The arrays are in NCHW, and in one thread.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import torch

SIDE = 6  # of a tile's results
_COEFFICIENTS = (SIDE + 2) ** 2

OPERATOR = "marina::nnpack"

# Of nnpack.h: the algorithm nnp_convolution_algorithm_wt8x8, what is to be done with the weights,
# what follows the convolution.
_WINOGRAD_8X8 = 3
_TRANSFORM, _REUSE = 2, 3
_IDENTITY, _RELU = 0, 1


class _Size(ctypes.Structure):
    _fields_ = (("width", ctypes.c_size_t), ("height", ctypes.c_size_t))


class _Padding(ctypes.Structure):
    _fields_ = tuple((side, ctypes.c_size_t) for side in ("top", "right", "bottom", "left"))


_ARGUMENTS = (
    ctypes.c_int,  # algorithm
    ctypes.c_int,  # what is to be done with the weights
    ctypes.c_size_t,  # channels of the input
    ctypes.c_size_t,  # channels of the output
    _Size,  # of the image
    _Padding,
    _Size,  # of the weights
    _Size,  # stride
    ctypes.c_void_p,  # input
    ctypes.c_void_p,  # weights
    ctypes.c_void_p,  # bias
    ctypes.c_void_p,  # output
    ctypes.c_void_p,  # workspace, or the transformed weights
    ctypes.POINTER(ctypes.c_size_t),  # its size
    ctypes.c_int,  # what follows
    ctypes.c_void_p,  # parameters of that
    ctypes.c_void_p,  # thread pool
    ctypes.c_void_p,  # profile
)

_library = torch.library.Library("marina", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "nnpack(Tensor x, Tensor weights, Tensor bias, Tensor? other, bool relu) -> Tensor",
    alias_analysis="FROM_SCHEMA",
)
_own = threading.local()  # each thread's workspace


@cache
def is_available() -> bool:
    """Tell whether torch's library has NNPACK here, the processor suits it, and it computes."""
    if _function() is None:
        return False
    generator = torch.Generator().manual_seed(0)
    x, bias = torch.randn(1, 4, 9, 9, generator=generator), torch.randn(5, generator=generator)
    weights = torch.randn(5, 4, 3, 3, generator=generator)
    expected = torch.conv2d(x, weights, bias, padding=1).relu_()
    result = convolve(x, transform_weights(weights), bias, None, relu=True)
    return torch.allclose(result, expected, atol=1e-3)


def transform_weights(weights: torch.Tensor) -> torch.Tensor:
    """Turn the weights of a convolution into what NNPACK multiplies with.

    Args:
        weights: Shape (K, C, 3, 3), float32.

    Returns:
        Shape (64 C K,), float32, in an order of NNPACK's own.
    """
    k, c = weights.shape[:2]
    weights = weights.float().contiguous()
    result = weights.new_zeros(_COEFFICIENTS * c * k)
    size = ctypes.c_size_t(result.nbytes)
    blank = weights.new_zeros(max(c, k) * SIDE**2)  # stands for an image, and is left alone
    arrays = (blank, weights, blank, blank)
    _call(_TRANSFORM, (c, k, SIDE, SIDE), arrays, result.data_ptr(), size, _IDENTITY)
    return result


@torch.library.impl(_library, "nnpack", "CPU")
def convolve(
    x: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor,
    other: torch.Tensor | None,
    relu: bool,
) -> torch.Tensor:
    """Convolve with 3x3, stride 1 and padding 1; then add another tensor, and cut off below 0.

    Args:
        x: Shape (N, C, H, W), float32, best contiguous.
        weights: From ``transform_weights``.
        bias: Shape (K,).
        other: Added to the result, if any: shape (N, K, H, W), or one that is broadcast to it.
        relu: Whether negative results become 0.

    Returns:
        Shape (N, K, H, W), contiguous.
    """
    x = x.contiguous()
    n, c, height, width = x.shape
    shape = (c, len(bias), height, width)
    result = x.new_empty(n, *shape[1:])
    size = ctypes.c_size_t(_workspace_bytes(*shape))
    workspace = _workspace(size.value)
    follows = _RELU if relu and other is None else _IDENTITY
    for image, to in zip(x, result, strict=True):
        _call(_REUSE, shape, (image, weights, bias, to), workspace, size, follows)
    if other is not None:
        result += other.contiguous()
        if relu:
            result.relu_()
    return result


def _workspace(size: int) -> int:
    """Give the address of so many bytes that are this thread's."""
    kept: torch.Tensor | None = getattr(_own, "workspace", None)
    if kept is None or kept.nbytes < size:
        kept = _own.workspace = torch.empty(size, dtype=torch.uint8)
    return kept.data_ptr()


@cache
def _workspace_bytes(c: int, k: int, height: int, width: int) -> int:
    """Ask NNPACK, which says it where it is given none."""
    size = ctypes.c_size_t(0)
    any_array = torch.zeros(1)
    _call(_REUSE, (c, k, height, width), (any_array,) * 4, None, size, _IDENTITY)
    return size.value


def _call(
    weights_are: int,
    shape: tuple[int, int, int, int],
    arrays: tuple[torch.Tensor, ...],
    workspace: int | None,
    size: ctypes.c_size_t,
    follows: int,
) -> None:
    """Call NNPACK on one image.

    Args:
        weights_are: To be transformed, or transformed already.
        shape: Channels of the input and of the output, height and width.
        arrays: Input, weights, bias and output.
        workspace: Its address; None to ask for its size.
        size: Of the workspace, in bytes.
        follows: On the convolution.

    Raises:
        RuntimeError: NNPACK refuses.
    """
    function = _function()
    if function is None:
        raise RuntimeError("torch's library has no NNPACK here, or the processor does not suit it")
    c, k, height, width = shape
    status = function(
        _WINOGRAD_8X8, weights_are, c, k, _Size(width, height), _Padding(1, 1, 1, 1),
        _Size(3, 3), _Size(1, 1), *(array.data_ptr() for array in arrays),
        workspace, ctypes.byref(size), follows, None, None, None,
    )  # fmt: skip
    if status != 0:
        raise RuntimeError(
            f"NNPACK cannot convolve {c} by {k} channels of {width}x{height} pixels: {status}"
        )


@cache
def _function() -> Any | None:
    """Give NNPACK's function; None where torch's library has none, or the processor lacks AVX2."""
    name = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}.get(sys.platform, "")
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
        function = library.nnp_convolution_inference
        is_ready = library.nnp_initialize() == 0
    except (OSError, AttributeError):
        return None
    function.restype, function.argtypes = ctypes.c_int, _ARGUMENTS
    return function if is_ready else None
