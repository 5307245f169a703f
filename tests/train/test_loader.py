from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from marina.errors import DataError
from marina.recipe import Recipe, Train
from marina.train.augmentation import augmentation, mixing
from marina.train.dataset import AugmentedDataset, Draw, ImageDataset, Split, read_split
from marina.train.distributed import World
from marina.train.loader import StepSampler, train_loader
from marina.train.objective import class_weights, objective

ALONE = World(torch.device("cpu"))


def split_of(targets: list[int]) -> Split:
    labels = tuple(f"class{number}" for number in range(max(targets) + 1))
    files = tuple(Path(f"{number}.png") for number in range(len(targets)))
    return Split(Path(), labels, files, tuple(targets))


def train_of(**keys: object) -> Train:
    return Train.model_validate({"epochs": 1, "batch_size": 8, **keys})


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own() -> None:
    sampler = StepSampler(split_of([0] * 20), train_of(), ALONE)
    epochs = []
    for epoch in (1, 2, 1):
        sampler.epoch = epoch
        epochs.append([draw for step in sampler for draw in step])
    assert sorted(draw.image for draw in epochs[0]) == list(range(20))
    assert epochs[0] == epochs[2]
    assert [d.image for d in epochs[0]] != [d.image for d in epochs[1]]
    assert len({draw.seed for draw in epochs[0] + epochs[1]}) == 40
    assert [len(step) for step in sampler] == [8, 8, 4]


def test_an_epoch_that_is_gone_on_with_ends_as_it_would_have() -> None:
    sampler = StepSampler(split_of([0] * 20), train_of(), ALONE)
    whole = list(sampler)
    sampler.first_step = 2
    assert list(sampler) == whole[2:]


@pytest.mark.parametrize("size", [2, 4])
def test_processes_share_out_the_very_same_steps(size: int) -> None:
    split, train = split_of([0, 1] * 14), train_of()
    alone = list(StepSampler(split, train, ALONE))
    ranks = [
        list(StepSampler(split, train, World(torch.device("cpu"), rank, size)))
        for rank in range(size)
    ]
    for step, draws in enumerate(alone[:3]):
        assert sorted(draw for rank in ranks for draw in rank[step]) == sorted(draws)


def test_a_last_batch_too_small_for_its_statistics_sits_out() -> None:
    assert [len(s) for s in StepSampler(split_of([0] * 17), train_of(), ALONE)] == [8, 8]
    assert [len(s) for s in StepSampler(split_of([0] * 18), train_of(), ALONE)] == [8, 8, 2]
    pieces = StepSampler(split_of([0] * 18), train_of(accumulate=2), ALONE)
    assert [len(step) for step in pieces] == [8, 8]
    with pytest.raises(DataError, match="1 training images make no step: expected at least 2"):
        StepSampler(split_of([0]), train_of(), ALONE)


def test_balanced_sampling_draws_classes_equally_often() -> None:
    split = split_of([0] * 900 + [1] * 100)
    sampler = StepSampler(split, train_of(sampling="balanced"), ALONE)
    drawn = Counter(split.targets[draw.image] for step in sampler for draw in step)
    assert drawn[1] == pytest.approx(500, abs=60)


def test_any_number_of_workers_gives_the_same_batches(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny("train.augment={rotate_deg: 20, horizontal_flip: true, random_erasing: 0.5}")
    split = read_split(recipe.data, "train")
    images = ImageDataset(split, recipe.image, recipe.serve.limits)
    dataset = AugmentedDataset(images, augmentation(recipe.train.augment, recipe.image))
    batches = []
    for workers in (0, 1, 2):
        train = recipe.train.model_copy(update={"workers": workers})
        sampler = StepSampler(split, train, ALONE)
        batches.append([images for images, _ in train_loader(dataset, sampler, train, ALONE)])
    for first, second, third in zip(*batches, strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first, third)


def test_augmentation_leaves_the_global_generator_alone(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny("train.augment.rotate_deg=20")
    images = ImageDataset(read_split(recipe.data, "train"), recipe.image, recipe.serve.limits)
    dataset = AugmentedDataset(images, augmentation(recipe.train.augment, recipe.image))
    before = torch.get_rng_state()
    assert not torch.equal(dataset[Draw(0, 1)][0], dataset[Draw(0, 2)][0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "augment",
    [
        "{rand_augment: {operations: 3, magnitude: 15}}",
        "{trivial_augment: true}",
        "{random_erasing: 1.0}",
        "{random_resized_crop: 0.3}",
        "{pad_crop_px: 4}",
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_each_augmentation_changes_pixels_and_keeps_their_form(
    tiny: Callable[..., Recipe], augment: str, mode: str
) -> None:
    mean = "[0.5]" if mode == "L" else "[0.5, 0.5, 0.5]"
    recipe = tiny(
        f"train.augment={augment}", f"image.mode={mode}", f"image.mean={mean}", f"image.std={mean}"
    )
    images = ImageDataset(read_split(recipe.data, "train"), recipe.image, recipe.serve.limits)
    dataset = AugmentedDataset(images, augmentation(recipe.train.augment, recipe.image))
    changed = [dataset[Draw(0, seed)][0] for seed in range(6)]
    assert {(pixels.shape, pixels.dtype) for pixels in changed} == {
        (torch.Size([1 if mode == "L" else 3, 32, 32]), torch.uint8)
    }
    assert any(not torch.equal(pixels, images[0][0]) for pixels in changed)


@pytest.mark.parametrize("keys", ["mixup_alpha", "cutmix_alpha"])
def test_mixed_batches_have_mixed_targets(tiny: Callable[..., Recipe], keys: str) -> None:
    mix = tiny(f"train.mix={{{keys}: 1.0}}").train.mix
    assert mix is not None
    torch.manual_seed(0)
    images, targets = mixing(mix, 2)(torch.rand(8, 3, 32, 32), torch.tensor([0, 1] * 4))
    assert images.shape == (8, 3, 32, 32)
    assert targets.shape == (8, 2)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    assert ((targets > 0) & (targets < 1)).any()


def test_balanced_class_weights_give_classes_the_same_total() -> None:
    split = split_of([0] * 30 + [1] * 10)
    weights = class_weights(train_of(class_weights="balanced"), split)
    assert weights is not None
    assert (weights * torch.tensor([30, 10])).tolist() == pytest.approx([20, 20])


def test_pieces_of_a_batch_add_up_to_its_loss() -> None:
    train = train_of(class_weights=(1.0, 3.0), label_smoothing=0.1)
    loss = objective(train, split_of([0] * 30 + [1] * 10), torch.device("cpu"))
    logits, targets = torch.randn(8, 2), torch.tensor([0, 0, 1, 0, 1, 1, 0, 0])
    pieces = [
        loss(part, truth)
        for part, truth in zip(logits.tensor_split(3), targets.tensor_split(3), strict=True)
    ]
    torch.testing.assert_close(torch.stack(pieces).sum(), loss(logits, targets))
