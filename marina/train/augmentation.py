"""Random changes of the training images, by torchvision's transforms v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchvision.transforms import InterpolationMode, v2

if TYPE_CHECKING:
    from handlers.image_spec import ImageSpec
    from marina.recipe import Augment, Mix


def augmentation(augment: Augment, spec: ImageSpec) -> v2.Transform:
    """Give the transform from a decoded image to uint8 pixels (C, crop, crop)."""
    steps = [*_geometry(augment, spec)]
    if augment.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    if augment.rand_augment:
        policy = augment.rand_augment
        steps.append(v2.RandAugment(policy.operations, policy.magnitude))
    if augment.trivial_augment:
        steps.append(v2.TrivialAugmentWide())
    steps.append(v2.PILToTensor())
    if augment.random_erasing:
        steps.append(v2.RandomErasing(augment.random_erasing))
    return v2.Compose(steps)


def _geometry(augment: Augment, spec: ImageSpec) -> list[v2.Transform]:
    """Give what brings an image of any size to the crop."""
    interpolation = InterpolationMode(spec.interpolation)
    steps: list[v2.Transform] = []
    if augment.random_resized_crop is None:
        steps.append(v2.Resize(spec.resize, interpolation))
    if augment.rotate_deg or augment.translate or augment.zoom:
        steps.append(
            v2.RandomAffine(
                augment.rotate_deg,
                translate=(augment.translate, augment.translate),
                scale=(1 - augment.zoom, 1 + augment.zoom),
                interpolation=InterpolationMode.BILINEAR,
            )
        )
    if augment.random_resized_crop is not None:
        area = (augment.random_resized_crop, 1.0)
        steps.append(v2.RandomResizedCrop(spec.crop, scale=area, interpolation=interpolation))
    elif augment.pad_crop_px:
        steps.append(v2.RandomCrop(spec.crop, padding=augment.pad_crop_px))
    else:
        steps.append(v2.CenterCrop(spec.crop))
    return steps


def mixing(mix: Mix, classes: int) -> v2.Transform:
    """Give the transform of a batch ``(images (N, C, H, W), targets (N,))``.

    Mixed targets are float32 (N, classes); those of a batch that is left alone stay (N,).
    """
    choices: list[v2.Transform] = []
    if mix.mixup_alpha:
        choices.append(v2.MixUp(alpha=mix.mixup_alpha, num_classes=classes))
    if mix.cutmix_alpha:
        choices.append(v2.CutMix(alpha=mix.cutmix_alpha, num_classes=classes))
    return v2.RandomApply([v2.RandomChoice(choices)], p=mix.probability)
