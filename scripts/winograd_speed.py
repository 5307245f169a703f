"""Where Winograd's algorithm pays: milliseconds an image of one convolution, direct and by it.

    python scripts/winograd_speed.py --size 56 --channels 64 --batch 1 8

In one thread, with relu after it. Before each call other memory is read, as a network's other
layers would: a convolution alone has its weights in the cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from torch import nn

from handlers.winograd import convolve, transform_weights
from marina.export.precision import quiet_torch

ROUNDS = 20
OTHER_MEMORY = torch.zeros(10_000_000)

Call = Callable[[], torch.Tensor]


def direct(convolution: nn.Conv2d, x: torch.Tensor) -> Call:
    """Give the convolution as the handler runs it, fused and compiled."""
    torch.jit.enable_onednn_fusion(True)
    with quiet_torch():
        traced = torch.jit.trace(nn.Sequential(convolution, nn.ReLU()).eval(), x)
        frozen = torch.jit.freeze(traced)
    for _ in range(3):
        frozen(x)
    return lambda: frozen(x)


def by_winograd(convolution: nn.Conv2d, x: torch.Tensor) -> Call:
    """Give the same by the algorithm."""
    weights = transform_weights(convolution.weight)
    return lambda: convolve(x, weights, convolution.bias, None, relu=True)


def in_turn(calls: list[Call], count: int) -> list[float]:
    """Give each call's milliseconds an image, the median of rounds."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, seconds, strict=True):
            OTHER_MEMORY.add_(1)
            started = perf_counter()
            call()
            taken.append(perf_counter() - started)
    return [median(taken) / count * 1e3 for taken in seconds]


@torch.no_grad()
def main() -> None:
    """Measure each shape in each batch size, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, nargs="+", default=[7, 12, 14, 28, 56, 112])
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 48, 64, 128, 256])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| pixels | channels | batch | direct | Winograd | share |")
    print("| ---: |" + " ---: |" * 5)
    for size in options.size:
        for channels in options.channels:
            convolution = nn.Conv2d(channels, channels, 3, padding=1).eval()
            convolution = convolution.to(memory_format=torch.channels_last)
            for count in options.batch:
                x = torch.randn(count, channels, size, size)
                x = x.to(memory_format=torch.channels_last)
                calls = [direct(convolution, x), by_winograd(convolution, x)]
                as_is, faster = in_turn(calls, count)
                print(
                    f"| {size} | {channels} | {count} | {as_is:.2f} | {faster:.2f} "
                    f"| {faster / as_is:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
