from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from marina.recipe import Recipe
from marina.train.checkpoints import Checkpoints
from marina.train.run import Run
from marina.train.state import TrainState
from marina.train.training import train


def events(run: Run) -> EventAccumulator:
    everything = EventAccumulator(str(run.folder / "tensorboard"))
    everything.Reload()
    return everything


@pytest.fixture(scope="module")
def run(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny("train.tensorboard=true"), tmp_path_factory.mktemp("board") / "run")


def test_scalars_are_those_of_the_epochs(run: Run) -> None:
    shown = events(run)
    for tag, key in (("loss/train", "train_loss"), ("accuracy/val", "val_accuracy"), ("lr", "lr")):
        points = [(event.step, event.value) for event in shown.Scalars(tag)]
        told = [(row["epoch"], pytest.approx(row[key])) for row in run.metrics["epochs"]]
        assert points == told


def test_images_graph_confusion_and_hyperparameters_are_there(run: Run) -> None:
    tags = events(run).Tags()
    assert tags["graph"]
    assert set(tags["images"]) == {"augmented", "confusion"}
    assert "_hparams_/session_start_info" in events(run).summary_metadata


def test_embeddings_stand_beside_their_labels_and_pictures(run: Run) -> None:
    (folder,) = (run.folder / "tensorboard").glob("*/default")
    labels = (folder / "metadata.tsv").read_text().splitlines()
    rows = (folder / "tensors.tsv").read_text().splitlines()
    assert sorted(set(labels)) == ["class0", "class1"]
    assert len(rows) == len(labels)
    assert len(rows[0].split("\t")) == 1024  # what shufflenet's head takes
    assert (folder / "sprite.png").is_file()


def test_watching_changes_nothing(run: Run, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    unwatched = train(tiny("train.tensorboard=false"), tmp_path / "run")
    assert not (unwatched.folder / "tensorboard").exists()
    for ours, theirs in zip(run.metrics["epochs"], unwatched.metrics["epochs"], strict=True):
        assert ours["train_loss"] == theirs["train_loss"]


def test_a_run_that_goes_on_shows_each_epoch_once(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("train.tensorboard=true", "train.checkpoint_every_s=1000")
    after_epoch = Checkpoints.after_epoch

    def interrupt(self: Checkpoints, state: TrainState, logits: object) -> None:
        after_epoch(self, state, logits)  # type: ignore[arg-type]
        if len(state.history) == 1:
            self.write_last(state)
        if len(state.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "after_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run")
    monkeypatch.undo()
    resumed = train(recipe, tmp_path / "run", resume=True)
    assert [event.step for event in events(resumed).Scalars("loss/train")] == [1, 2]
