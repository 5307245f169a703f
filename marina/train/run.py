"""A run: the folder ``runs/<name>/<timestamp>/`` that holds all that one training left.

=================  ================================================================
recipe.yaml        the recipe as it was used, overrides and defaults included
labels.json        class names, in the order of the network's outputs
checkpoint.pt      state dict of the best epoch (``torch.load(…, weights_only=True)``)
last.pt            all that it takes to go on with the training, likewise
tensorboard/       what ``tensorboard --logdir runs`` shows
calibration.json   the temperature, once ``marina evaluate --calibrate`` has fitted one
metrics.json       the epochs, the test result, the dataset's digest, the environment
model.pt …         what ``marina export`` adds
=================  ================================================================

``metrics.json`` is written last: a run without it did not finish.
"""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.backend import FILES
from marina.errors import TrainError
from marina.files import sha256_file, whole_file, write_whole
from marina.recipe import Recipe, read_recipe

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Run:
    """A run's folder and what is in it."""

    folder: Path

    @classmethod
    def create(cls, recipe: Recipe, labels: tuple[str, ...], folder: Path | None) -> Run:
        """Make the folder, ``runs/<name>/<timestamp>`` unless told otherwise.

        Raises:
            TrainError: The folder holds a run already.
        """
        run = cls(folder or Path("runs") / recipe.name / timestamp(datetime.now(UTC)))
        if run.recipe_file.exists():
            raise TrainError(
                f"{run.folder} holds a run already: choose another --run-dir, or --resume it"
            )
        write_whole(run.recipe_file, recipe.as_yaml())
        write_whole(run.folder / "labels.json", json.dumps(labels, indent=0, ensure_ascii=False))
        return run

    @classmethod
    def find(cls, path: Path) -> Run:
        """Give the finished run at ``path``, or the newest finished one below it.

        Raises:
            TrainError: There is none.
        """
        if (path / "metrics.json").is_file():
            return cls(path)
        finished = sorted(path.glob("*/metrics.json"))
        if finished:
            return cls(finished[-1].parent)
        if (path / "recipe.yaml").is_file():
            raise TrainError(f"{path} has no metrics.json: its training did not finish")
        raise TrainError(f"no run at {path}: expected a folder that `marina train` made")

    @classmethod
    def newest_unfinished(cls, parent: Path) -> Run:
        """Give the newest run below a folder whose training can be gone on with.

        Raises:
            TrainError: There is none.
        """
        for file in sorted(parent.glob("*/recipe.yaml"), reverse=True):
            if not cls(file.parent).is_finished:
                return cls(file.parent)
        raise TrainError(f"no unfinished run in {parent}: leave out --resume to begin one")

    @property
    def is_finished(self) -> bool:
        """Whether its training came to its end."""
        return (self.folder / "metrics.json").is_file()

    @property
    def recipe_file(self) -> Path:
        """Where the recipe is."""
        return self.folder / "recipe.yaml"

    @property
    def checkpoint(self) -> Path:
        """Where the best weights are."""
        return self.folder / "checkpoint.pt"

    @property
    def last(self) -> Path:
        """Where all is that it takes to go on."""
        return self.folder / "last.pt"

    @property
    def model(self) -> Path:
        """Where ``marina export`` puts what is served."""
        return self.folder / FILES[self.recipe.serve.backend]

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that made this run."""
        return read_recipe(self.recipe_file)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the network's outputs."""
        return tuple(json.loads((self.folder / "labels.json").read_text()))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` holds."""
        metrics: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        return metrics

    @property
    def temperature(self) -> float:
        """What logits are divided by before softmax; 1 unless a calibration of this checkpoint."""
        try:
            calibration = json.loads((self.folder / "calibration.json").read_text())
        except FileNotFoundError:
            return 1.0
        fresh = calibration["checkpoint_sha256"] == sha256_file(self.checkpoint)
        return float(calibration["temperature"]) if fresh else 1.0

    def save_temperature(self, temperature: float) -> None:
        """Keep a temperature, bound to the weights that it was fitted to."""
        calibration = {
            "temperature": temperature,
            "checkpoint_sha256": sha256_file(self.checkpoint),
        }
        write_whole(self.folder / "calibration.json", json.dumps(calibration, indent=2))

    def save_checkpoint(self, network: nn.Module, epoch: int) -> None:
        """Write the network's state dict, whole."""
        import torch

        with whole_file(self.checkpoint) as file:
            torch.save({"model": network.state_dict(), "epoch": epoch}, file)

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Write ``metrics.json``, which ends the run."""
        write_whole(self.folder / "metrics.json", json.dumps(metrics, indent=2))

    def load_network(self) -> nn.Module:
        """Build the network with this run's best weights, on the CPU, in evaluation mode.

        Raises:
            TrainError: There is no checkpoint, or it is not of this recipe.
        """
        import torch

        from marina.train.architecture import build

        # The checkpoint holds every tensor, so pretrained ones are not fetched again.
        bare = self.recipe.architecture.model_copy(update={"weights": None, "weights_file": None})
        network = build(bare, len(self.labels), self.recipe.image.channels)
        try:
            checkpoint = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            network.load_state_dict(checkpoint["model"])
        except FileNotFoundError as err:
            raise TrainError(f"{self.folder} has no checkpoint.pt") from err
        except (RuntimeError, KeyError) as err:
            raise TrainError(f"{self.checkpoint} is not of this run's recipe: {err}") from err
        return network.eval()


def timestamp(moment: datetime) -> str:
    """Give a run's name; names sort as the moments do."""
    return moment.strftime("%Y%m%d-%H%M%S-%f")[:-3]


def environment() -> dict[str, Any]:
    """Give what a result depends on beside recipe and data: commit and versions."""
    from importlib.metadata import version

    packages = ("torch", "torchvision", "pillow", "marina")
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _commit() -> str | None:
    """Give the source's git commit, with ``-dirty`` if files differ from it; None outside git."""
    here = Path(__file__).parent
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip()
