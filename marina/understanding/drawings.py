"""Drawings of what a network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from marina.evaluation.plots import save

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

MAPS = 8


def overlay(pixels: torch.Tensor, heat: torch.Tensor, title: str, file: Path) -> None:
    """Draw an image beside itself with heat over it: red for the class, blue against it.

    Args:
        pixels: The image (C, crop, crop), uint8.
        heat: Shape (crop, crop).
        title: What is shown.
        file: The PNG.
    """
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    plain, heated = figure.subplots(1, 2)
    picture = pixels.expand(3, -1, -1).permute(1, 2, 0).numpy()  # (H, W, 3)
    most = float(heat.abs().max()) or 1.0
    plain.imshow(picture)
    heated.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    shown = heated.imshow(heat.numpy(), cmap="bwr", vmin=-most, vmax=most, alpha=0.55)
    figure.colorbar(shown, ax=heated, shrink=0.8)
    for axes in (plain, heated):
        axes.axis("off")
    figure.suptitle(title, parse_math=False)
    save(figure, file)


def feature_maps(outputs: Mapping[str, torch.Tensor], title: str, file: Path) -> None:
    """Draw the strongest feature maps of some layers, a row a layer.

    Args:
        outputs: By the layer's name, shape (1, channels, h, w).
        title: What is shown.
        file: The PNG.
    """
    figure = Figure(figsize=(1.5 * MAPS, 1.8 * len(outputs) + 0.5), layout="constrained")
    grid = figure.subplots(len(outputs), MAPS, squeeze=False)
    for axes in grid.flatten():
        axes.axis("off")
    for row, (name, output) in zip(grid, outputs.items(), strict=True):
        maps = output[0]  # (channels, h, w)
        strongest = maps.abs().mean(dim=(1, 2)).argsort(descending=True)[:MAPS].tolist()
        for axes, channel in zip(row, strongest, strict=False):
            axes.imshow(maps[channel].numpy(), cmap="viridis")
            above = f"{name}, {maps.shape[2]}×{maps.shape[1]} px\n" if axes is row[0] else ""
            axes.set_title(f"{above}channel {channel}", fontsize=7, loc="left")
    figure.suptitle(title, parse_math=False)
    save(figure, file)
