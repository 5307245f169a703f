"""The two checkpoints of a training: the best weights, and all that it takes to go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from marina.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from marina.train.run import Run
    from marina.train.state import TrainState


class Checkpoints:
    """Writes ``checkpoint.pt`` at each new best epoch, and ``last.pt`` every so many seconds.

    ``last.pt`` may be older than ``checkpoint.pt``: what is trained again from it gives the same
    epochs again.

    Args:
        run: Whose files.
        started: When this process began, of time.monotonic().
    """

    def __init__(self, run: Run, started: float):
        self._run = run
        self._every_s = run.recipe.train.checkpoint_every_s
        self._started = started
        self._written = time.monotonic()

    def after_step(self, state: TrainState) -> None:
        """Write ``last.pt``, if it is time."""
        if time.monotonic() - self._written >= self._every_s:
            self.write_last(state)

    def after_epoch(self, state: TrainState, logits: torch.Tensor) -> None:  # noqa: ARG002
        """Write ``checkpoint.pt``, if this is the best epoch so far."""
        if state.best is state.history[-1]:
            self._run.save_checkpoint(state.kept, state.best.epoch)

    def write_last(self, state: TrainState) -> None:
        """Write ``last.pt``."""
        state.save(self._run.last, state.seconds + time.monotonic() - self._started)
        self._written = time.monotonic()


def differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """Name the keys that would make a run go on otherwise than it began."""
    # Where and how fast, but not what.
    free: Any = {"train": {"workers", "device", "checkpoint_every_s", "tensorboard"}, "serve": True}
    a, b = (recipe.model_dump(mode="json", exclude=free) for recipe in (ours, theirs))
    return [
        f"{section}.{key}: {a[section][key]} here, {b[section][key]} there"
        for section in a
        if isinstance(a[section], dict)
        for key in a[section]
        if a[section][key] != b[section][key]
    ] + [f"name: {ours.name} here, {theirs.name} there"] * (ours.name != theirs.name)
