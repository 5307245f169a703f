"""What the rollouts of the demo are about: a baseline, and three candidates to take its place.

==========  =====  ==============================================================================
role        as     what it is
==========  =====  ==============================================================================
baseline    1.0    the demo's network after three epochs
wrong       2.0    the demo's network with its classes mixed up: each digit is called the next one
slower      3.0    the demo's network grown from 18 to 34 layers, which say what the 18 said, and
                   served with TorchServe's own delay for batches, 100 ms
better      4.0    the demo's network, trained to the end
==========  =====  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marina.archive.store import ModelStore
from marina.demo.main_job import fresh_run, packed
from marina.files import sha256_file, whole_file

if TYPE_CHECKING:
    import torch

    from marina.archive.store import Entry
    from marina.recipe import Recipe
    from marina.train.run import Run

    Weights = dict[str, torch.Tensor]

FOLDER = Path("runs/rollout-demo")
BASELINE_EPOCHS = 3
DEEPER = "resnet34"
TORCHSERVES_DELAY_MS = 100


@dataclass(frozen=True)
class Version:
    """One of the four.

    Attributes:
        role: See above.
        run: Where it was made.
        entry: Its line in the store.
    """

    role: str
    run: Run
    entry: Entry

    @property
    def accuracy(self) -> float:
        """Share of the held-out images that it gets right, in the lab."""
        return float(self.run.metrics["test"]["accuracy"])


def make_versions(recipe: Recipe) -> tuple[dict[str, Version], ModelStore]:
    """Make the baseline and the candidates, or take up what was made before of the same recipe.

    Returns:
        The versions by their number, and a store that holds them and nothing else.

    Raises:
        MarinaError: A step failed.
    """
    better = fresh_run(recipe)
    short = recipe.train.model_copy(update={"epochs": BASELINE_EPOCHS})
    runs = {
        "baseline": fresh_run(recipe.model_copy(update={"train": short}), FOLDER / "baseline"),
        "wrong": _changed(better, "wrong", recipe.architecture.name, mixed_up),
        "slower": _changed(
            better, "slower", DEEPER, grown, max_batch_delay_ms=TORCHSERVES_DELAY_MS
        ),
        "better": better,
    }
    store = ModelStore(FOLDER / "model_store")
    versions = {}
    for number, (role, run) in enumerate(runs.items(), start=1):
        version = f"{number}.0"
        versions[version] = Version(role, run, packed(run, version, store))
    return versions, store


def mixed_up(weights: Weights, _: Weights) -> Weights:
    """Give the weights with the rows of the last layer moved on by one: a 7 is called an 8."""
    head = {name: weights[name].roll(1, 0) for name in ("fc.weight", "fc.bias")}
    return {**weights, **head}


def grown(weights: Weights, deeper: Weights) -> Weights:
    """Give the weights of a deeper ResNet of basic blocks that answers as the shallow one does.

    A block that is new adds nothing to what passes it, since the scale and the shift of its last
    normalization are zero (Net2Net's deeper network, Chen et al. 2016, section 3.2; for residual
    blocks as in Goyal et al. 2017, section 5.1).

    Args:
        weights: Of the shallow network.
        deeper: Of the deep one, as it was initialized.
    """
    new = {name: value for name, value in deeper.items() if name not in weights}
    last = {
        name: value.new_zeros(value.shape)
        for name, value in new.items()
        if name.endswith(("bn2.weight", "bn2.bias"))
    }
    return {**new, **last, **weights}


def _changed(
    run: Run,
    role: str,
    architecture: str,
    change: Callable[[Weights, Weights], Weights],
    **serve: object,
) -> Run:
    """Give a run of no epochs that begins, and so ends, with the changed weights of another."""
    import torch

    from marina.train.architecture import build

    file = FOLDER / "weights" / f"{role}-{sha256_file(run.checkpoint)[:12]}.pt"
    named = {"name": architecture, "weights": None, "weights_file": file}
    recipe = run.recipe
    if not file.exists():
        bare = recipe.architecture.model_copy(update={**named, "weights_file": None})
        fresh = build(bare, len(run.labels), recipe.image.channels).state_dict()
        with whole_file(file) as temporary:
            torch.save(change(run.load_network().state_dict(), fresh), temporary)
    update = {
        "architecture": recipe.architecture.model_copy(update=named),
        "train": recipe.train.model_copy(update={"epochs": 0}),
        "serve": recipe.serve.model_copy(update=serve),
    }
    return fresh_run(recipe.model_copy(update=update), FOLDER / role)
