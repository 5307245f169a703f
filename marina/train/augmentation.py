"""Random changes of the training images, by torchvision's transforms v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchvision.transforms import InterpolationMode, v2

if TYPE_CHECKING:
    from handlers.image_spec import ImageSpec
    from marina.recipe import Augment


def augmentation(augment: Augment, spec: ImageSpec) -> v2.Transform:
    """Give the transform from a decoded image to uint8 pixels (C, crop, crop)."""
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
    if augment.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose([*steps, v2.PILToTensor()])
