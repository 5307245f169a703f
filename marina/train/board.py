"""What TensorBoard shows of a training: ``tensorboard --logdir runs``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from handlers.preprocess import normalize
from marina.train.dataset import Draw
from marina.train.seeds import seed_of

if TYPE_CHECKING:
    from pathlib import Path

    from marina.recipe import Recipe
    from marina.train.dataset import AugmentedDataset, ImageDataset
    from marina.train.state import Epoch, TrainState

_SAMPLES = 32
_EMBEDDED = 256
_CELL_PX = 28
_MOST_CLASSES_NAMED = 50  # a larger confusion matrix has a pixel a cell


@contextmanager
def board(
    folder: Path,
    state: TrainState,
    train_set: AugmentedDataset,
    val_set: ImageDataset,
    recipe: Recipe,
) -> Iterator[Board]:
    """Show the training that the block runs, from its beginning to its end.

    Scalars and the learning rate come with each epoch; images as augmented and the network's graph
    at the start; the validation images' embeddings, their confusion matrix and the hyperparameters
    at the end. If the block fails, the files are closed as they are: the thread that writes them
    must not outlive the folder.
    """
    with closing(SummaryWriter(str(folder), purge_step=len(state.history) + 1)) as writer:
        shown = Board(writer, state, train_set, val_set, recipe)
        if not state.history:
            shown.begin()
        yield shown
        shown.finish()


class Board:
    """Writes a training's event files.

    Args:
        writer: Of the event files.
        state: Where the training begins.
        train_set: Where samples come from.
        val_set: Whose embeddings are shown.
        recipe: The hyperparameters.
    """

    def __init__(
        self,
        writer: SummaryWriter,
        state: TrainState,
        train_set: AugmentedDataset,
        val_set: ImageDataset,
        recipe: Recipe,
    ):
        self._writer = writer
        self._state = state
        self._train_set = train_set
        self._val_set = val_set
        self._recipe = recipe
        self._logits: torch.Tensor | None = None

    def begin(self) -> None:
        """Add what there is before the first step."""
        self._add_samples()
        self._add_graph()

    def after_step(self, state: TrainState) -> None:
        """Leave steps alone: TensorBoard has a point an epoch."""

    def after_epoch(self, state: TrainState, logits: torch.Tensor) -> None:
        """Add the epoch's scalars."""
        epoch = state.history[-1]
        scalars = {
            "loss/train": epoch.train_loss,
            "loss/val": epoch.val_loss,
            "accuracy/train": epoch.train_accuracy,
            "accuracy/val": epoch.val_accuracy,
            "lr": epoch.lr,
            "images per s": epoch.images_per_s,
        }
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch.epoch)
        self._logits = logits

    def finish(self) -> None:
        """Add what describes the trained network."""
        best = self._state.best
        if best is not None and self._logits is not None:
            self._add_embeddings(best.epoch)
            image = _drawn(self._confusion(self._logits), self._val_set.split.labels)
            self._writer.add_image("confusion", image, len(self._state.history), dataformats="HWC")
            self._add_hyperparameters(best)

    def _add_samples(self) -> None:
        count = min(_SAMPLES, len(self._train_set))
        step = len(self._train_set) // count
        draws = [Draw(i * step, seed_of(self._recipe.train.seed, i)) for i in range(count)]
        images = torch.stack([self._train_set[draw][0] for draw in draws])  # (N, C, H, W)
        self._writer.add_images("augmented", images, 0)

    def _add_graph(self) -> None:
        network = self._state.network
        image = self._on_device(self._val_set[0][0].unsqueeze(0))  # (1, C, H, W)
        was_training = network.training
        with torch.no_grad(), warnings.catch_warnings(action="ignore", category=FutureWarning):
            self._writer.add_graph(
                network.eval(), image
            )  # by torch.jit.trace, which has a successor
        network.train(was_training)

    @torch.inference_mode()
    def _add_embeddings(self, step: int) -> None:
        """Show what goes into the last linear layer for evenly spaced validation images."""
        count = min(_EMBEDDED, len(self._val_set))
        chosen = [index * len(self._val_set) // count for index in range(count)]
        pixels = torch.stack([self._val_set[index][0] for index in chosen])  # (N, C, H, W) uint8
        network = self._state.kept.eval()
        features: list[torch.Tensor] = []
        last = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
        hook = last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        for part in torch.split(pixels, self._recipe.train.batch_size):
            network(self._on_device(part))
        hook.remove()
        rows = torch.cat(features).flatten(1).float().cpu()  # (N, features)
        split = self._val_set.split
        self._writer.add_embedding(
            rows,
            metadata=[split.labels[split.targets[index]] for index in chosen],
            label_img=pixels.float() / 255,
            global_step=step,
        )

    def _confusion(self, logits: torch.Tensor) -> torch.Tensor:
        """Count how often which class was taken for which in the last epoch, (truth, predicted)."""
        split = self._val_set.split
        classes = len(split.labels)
        pairs = torch.tensor(split.targets) * classes + logits.argmax(dim=1)
        return torch.bincount(pairs, minlength=classes**2).view(classes, classes)

    def _add_hyperparameters(self, best: Epoch) -> None:
        recipe = self._recipe
        settings = {
            **_flat("architecture", recipe.architecture.model_dump(mode="json")),
            **_flat("train", recipe.train.model_dump(mode="json")),
            "image.crop": recipe.image.crop,
        }
        # Into this very run, not into one of its own below it.
        self._writer.add_hparams(settings, {"hparam/val accuracy": best.val_accuracy}, run_name=".")

    def _on_device(self, pixels: torch.Tensor) -> torch.Tensor:
        device = next(self._state.network.parameters()).device
        return normalize(pixels.to(device), self._recipe.image)


def _drawn(counts: torch.Tensor, labels: tuple[str, ...]) -> np.ndarray:
    """Draw a confusion matrix, a row a true class: pixels uint8 (H, W, 3).

    With Pillow, since to import matplotlib would cost each training a second or two.
    """
    shares = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)
    if len(labels) > _MOST_CLASSES_NAMED:
        return np.repeat((255 * (1 - shares)).byte().numpy()[..., None], 3, axis=2)
    size_px = (len(labels) + 3) * _CELL_PX
    picture = Image.new("RGB", (size_px, size_px), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((2, 2), "truth: rows, predicted: columns", "black")
    for row, label in enumerate(labels):
        start = (row + 2) * _CELL_PX
        draw.text((2, start + 8), label[:10], "black")
        draw.text((start + 2, _CELL_PX + 8), label[:4], "black")
        for column, share in enumerate(shares[row].tolist()):
            left, shade = (column + 2) * _CELL_PX, round(255 * (1 - share))
            box = (left, start, left + _CELL_PX - 1, start + _CELL_PX - 1)
            draw.rectangle(box, (shade, shade, 255))
            ink = "white" if share > 0.5 else "black"
            draw.text((left + 3, start + 8), str(int(counts[row, column])), ink)
    return np.asarray(picture)


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    """Give ``{section.key: value}``, in the types that TensorBoard takes."""
    if isinstance(value, dict):
        parts = [_flat(f"{prefix}.{key}", inner) for key, inner in value.items()]
        return {key: inner for part in parts for key, inner in part.items()}
    return {prefix: value if isinstance(value, bool | int | float | str) else str(value)}
