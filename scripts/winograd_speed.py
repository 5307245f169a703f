"""Where Winograd's algorithm pays: milliseconds an image, direct and by it, our own and NNPACK's.

    python scripts/winograd_speed.py --size 56 --channels 64 --batch 1 8
    python scripts/winograd_speed.py --network resnet18 vgg11 --size 224 --batch 1 4 8

In one thread, of one convolution with relu after it, or of whole networks of torchvision's with
random weights, where each convolution gets what pays. NNPACK takes and gives another layout than
oneDNN Graph: one convolution between others of that pays for it, and one between others of its own
does not; it stands there with and without. Before each call other memory is read, as a network's
other layers would: a convolution alone has its weights in the cache.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
import torchvision
from torch import nn

from handlers import nnpack, winograd
from handlers.image_spec import ImageSpec
from handlers.model import load_model
from handlers.rewrite import use_winograd
from marina.export.precision import quiet_torch

ROUNDS = 20
OTHER_MEMORY = torch.zeros(10_000_000)

Call = Callable[[], torch.Tensor]
Row = tuple[str, int, list[Call]]  # what it is, images of a batch, direct and by each other way


def direct(convolution: nn.Conv2d, x: torch.Tensor) -> Call:
    """Give the convolution as the handler runs it, fused and compiled."""
    torch.jit.enable_onednn_fusion(True)
    with quiet_torch():
        traced = torch.jit.trace(nn.Sequential(convolution, nn.ReLU()).eval(), x)
        frozen = torch.jit.freeze(traced)
    return warm(frozen, x)


def warm(model: nn.Module, x: torch.Tensor) -> Call:
    """Give a call that is compiled."""
    for _ in range(3):
        model(x)
    return lambda: model(x)


def by_winograd(convolution: nn.Conv2d, x: torch.Tensor) -> list[Call]:
    """Give the same by the algorithm: our own; NNPACK's, with another layout around it; without."""
    weights, bias = convolution.weight, convolution.bias
    own, theirs = winograd.transform_weights(weights), nnpack.transform_weights(weights)
    laid = x.contiguous()
    channels_last = torch.channels_last
    return [
        lambda: winograd.convolve(x, own, bias, None, relu=True),
        lambda: nnpack.convolve(x, theirs, bias, None, relu=True).to(memory_format=channels_last),
        lambda: nnpack.convolve(laid, theirs, bias, None, relu=True),
    ]


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


def convolutions(sizes: list[int], channels: list[int], batches: list[int]) -> Iterator[Row]:
    """Give one convolution of each shape."""
    for size in sizes:
        for width in channels:
            convolution = nn.Conv2d(width, width, 3, padding=1).eval()
            convolution = convolution.to(memory_format=torch.channels_last)
            for count in batches:
                x = torch.randn(count, width, size, size).to(memory_format=torch.channels_last)
                calls = [direct(convolution, x), *by_winograd(convolution, x)]
                yield f"{width} channels, {size} px", count, calls


def networks(names: list[str], sizes: list[int], batches: list[int]) -> Iterator[Row]:
    """Give whole networks, as the handler loads them."""
    for name in names:
        network = torchvision.models.get_model(name, weights=None).eval()
        for size in sizes:
            spec = ImageSpec(size, size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
            with tempfile.TemporaryDirectory() as folder, quiet_torch():
                file = Path(folder) / "model.pt"
                torch.jit.trace(network, torch.zeros(2, 3, size, size)).save(str(file))
                both = [load_model(file, spec, torch.device("cpu"), fusion=True) for _ in range(2)]
            replaced = use_winograd(both[1], spec)
            for count in batches:
                pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
                title = f"{name}, {size} px, {replaced} replaced"
                yield title, count, [warm(model, pixels) for model in both]


@torch.inference_mode()
def main() -> None:
    """Measure each in each batch size, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", nargs="+", help="of torchvision, instead of one convolution")
    parser.add_argument("--size", type=int, nargs="+", default=[14, 28, 56, 112], help="in pixels")
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 48, 64, 128, 256])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = (
        networks(options.network, options.size, options.batch)
        if options.network
        else convolutions(options.size, options.channels, options.batch)
    )
    ways = ["rewritten"] if options.network else ["own", "NNPACK", "NNPACK, in its layout"]
    print(f"| of | batch | direct | {' | '.join(ways)} |")
    print(f"| --- |{' ---: |' * (2 + len(ways))}")
    for title, count, calls in rows:
        as_is, *others = in_turn(calls, count)
        cells = (f"{other:.2f} ({other / as_is:.0%})" for other in others)
        print(f"| {title} | {count} | {as_is:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
