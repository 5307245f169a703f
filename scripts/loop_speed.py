r"""Compare images per second of Marina's training loop, torchvision's reference loop and no loop.

    git clone --depth 1 https://github.com/pytorch/vision
    python scripts/loop_speed.py --references vision/references/classification
    python scripts/loop_speed.py --model resnet50 --size 224 --batch-size 256 --images 12800 \
        --workers 16 --set train.device=cuda --set train.amp=bf16 \
        --set train.channels_last=true --set train.compile=true

All read the same made-up PNG files, with torchvision's own augmentation (a random resized crop and
a flip), into the same network under SGD with Nesterov momentum. They take turns, an epoch each,
after one that is not counted; given are medians. `bare` is forward and backward on one batch that
stays where it is: what no loop can beat. CPU seconds are this process's: they compare with
--workers 0 only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from marina.recipe import Recipe, read_recipe
from marina.train.architecture import build
from marina.train.augmentation import augmentation
from marina.train.dataset import AugmentedDataset, ImageDataset, read_split
from marina.train.distributed import World, choose_device
from marina.train.loop import Loop
from marina.train.state import TrainState

RECIPE = """
name: speed
data:
  source: synthetic
  root: {root}
  synthetic: {{classes: 10, images: {images}, size_px: {size}}}
  val_fraction: 0.001
  test_fraction: 0.001
architecture: {{name: {model}}}
train:
  epochs: 1
  batch_size: {batch_size}
  lr: 0.01
  workers: {workers}
  schedule: {{kind: constant}}
  augment: {{random_resized_crop: 0.08, horizontal_flip: true}}
image: {{resize: {size}, crop: {size}, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
"""
Epoch = Callable[[], float]  # runs one, and gives its images per second


def main() -> None:
    """Take turns, and print a JSON table."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_text(RECIPE.format(root=f"{folder}/images", **vars(options)))
        recipe = read_recipe(file, tuple(options.set))
        contenders = {"marina": marina(recipe), "bare": bare(recipe)}
        if options.references:
            contenders["torchvision"] = torchvision_reference(recipe, options.references)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        cpu_s: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(options.epochs + 1):
            for name, epoch in contenders.items():
                start = time.process_time()
                rate = epoch()
                if turn:
                    rates[name].append(rate)
                    cpu_s[name].append(time.process_time() - start)
    table = {
        name: {
            "images_per_s": statistics.median(rates[name]),
            "share_of_bare": statistics.median(
                rate / limit for rate, limit in zip(rates[name], rates["bare"], strict=True)
            ),
            "cpu_s_per_epoch": statistics.median(cpu_s[name]),
        }
        for name in contenders
    }
    print(json.dumps(table, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=Path, help="torchvision's references/classification")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--images", type=int, default=660)
    parser.add_argument("--size", type=int, default=64, help="side in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3, help="counted ones")
    parser.add_argument("--set", action="append", default=[], metavar="K=V")
    return parser.parse_args()


def marina(recipe: Recipe) -> Epoch:
    """Give an epoch of our loop."""
    world = World(choose_device(recipe.train.device))
    train_images, val_images = (
        ImageDataset(read_split(recipe.data, name), recipe.image, recipe.serve.limits)
        for name in ("train", "val")
    )
    train_set = AugmentedDataset(train_images, augmentation(recipe.train.augment, recipe.image))
    state = TrainState.first(_network(recipe, world.device), recipe.train)
    loop = Loop(state, train_set, val_images, _endless(recipe), world, [])

    def epoch() -> float:
        loop.run_epoch()
        return state.history[-1].images_per_s

    return epoch


def torchvision_reference(recipe: Recipe, references: Path) -> Epoch:
    """Give an epoch of ``references/classification/train.py``."""
    sys.path.insert(0, str(references))
    import presets  # type: ignore[import-not-found]
    from train import train_one_epoch  # type: ignore[import-not-found]

    train, device = recipe.train, choose_device(recipe.train.device)
    preset = presets.ClassificationPresetTrain(
        crop_size=recipe.image.crop, mean=recipe.image.mean, std=recipe.image.std
    )
    dataset = ImageFolder(str(recipe.data.root / "train"), preset)
    loader = DataLoader(
        dataset,
        train.batch_size,
        shuffle=True,
        num_workers=train.workers,
        pin_memory=device.type == "cuda",
    )
    network = _network(recipe, device)
    optimizer = torch.optim.SGD(  # as its main() makes it
        network.parameters(),
        train.lr,
        train.momentum,
        weight_decay=train.weight_decay,
        nesterov=True,
    )
    options = argparse.Namespace(print_freq=10, clip_grad_norm=None, amp=False, model_ema_steps=32)
    scaler = torch.amp.GradScaler("cuda") if train.amp == "fp16" else None

    def epoch() -> float:
        start = time.perf_counter()
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            train_one_epoch(
                network, nn.CrossEntropyLoss(), optimizer, loader, device, 0, options, None, scaler
            )
        return len(dataset) / (time.perf_counter() - start)

    return epoch


def bare(recipe: Recipe, steps: int = 20) -> Epoch:
    """Give some forward and backward passes on one batch on the device."""
    train, device = recipe.train, choose_device(recipe.train.device)
    network = _network(recipe, device)
    forward = torch.compile(network) if train.compile else network
    layout = torch.channels_last if train.channels_last else torch.contiguous_format
    size = (train.batch_size, recipe.image.channels, recipe.image.crop, recipe.image.crop)
    images = torch.rand(size, device=device).contiguous(memory_format=layout)
    targets = torch.zeros(train.batch_size, dtype=torch.int64, device=device)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, None: torch.float32}[train.amp]

    def epoch() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            with torch.autocast(device.type, dtype, enabled=train.amp is not None):
                loss = nn.functional.cross_entropy(forward(images), targets)
            loss.backward()
            network.zero_grad()
        loss.item()  # waits for the device
        return steps * train.batch_size / (time.perf_counter() - start)

    return epoch


def _network(recipe: Recipe, device: torch.device) -> nn.Module:
    torch.manual_seed(recipe.train.seed)
    network = build(recipe.architecture, 10, recipe.image.channels).to(device).train()
    layout = torch.channels_last if recipe.train.channels_last else torch.preserve_format
    return network.to(memory_format=layout)


def _endless(recipe: Recipe) -> Recipe:
    train = recipe.train.model_copy(update={"epochs": 10**6})
    return recipe.model_copy(update={"train": train})


if __name__ == "__main__":
    main()
