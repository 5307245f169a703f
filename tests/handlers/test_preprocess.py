from __future__ import annotations

import pytest
import torch
from pictures import encode, quadrants
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from handlers.image_spec import ImageSpec
from handlers.preprocess import load_pixels, normalize, pixels


def noise(size: tuple[int, int], mode: str) -> Image.Image:
    channels = len(mode) if mode == "RGB" else 1
    generator = torch.Generator().manual_seed(size[0] * 1000 + size[1])
    values = torch.randint(0, 256, (size[1] * size[0] * channels,), generator=generator)
    return Image.frombytes(mode, size, bytes(values.tolist()))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(64, 64), (101, 67), (67, 101), (9, 13), (33, 300), (256, 31)])
@pytest.mark.parametrize(("resize", "crop"), [(36, 32), (33, 32), (32, 32), (57, 29)])
def test_pixels_and_normalization_are_torchvisions_to_the_bit(
    size: tuple[int, int], mode: str, interpolation: str, resize: int, crop: int
) -> None:
    channels = 3 if mode == "RGB" else 1
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    spec = ImageSpec(resize, crop, mean, std, interpolation, mode)
    image = noise(size, mode)
    reference = v2.Compose(
        [
            v2.Resize(resize, InterpolationMode(interpolation)),
            v2.CenterCrop(crop),
            v2.PILToTensor(),
        ]
    )(image)
    ours = pixels(image, spec)
    assert ours.dtype == torch.uint8
    assert torch.equal(ours, reference)
    normalized = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    assert torch.equal(normalize(ours[None], spec), normalized(reference[None]))


def test_a_batch_is_its_images_one_by_one() -> None:
    spec = ImageSpec(20, 16, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    images = [load_pixels(encode(quadrants(), kind), spec) for kind in ("PNG", "JPEG", "BMP")]
    together = normalize(torch.stack(images), spec)  # (N, C, H, W)
    assert torch.equal(together, torch.cat([normalize(image[None], spec) for image in images]))
