from __future__ import annotations

from io import BytesIO

import pytest
import torch
from PIL import Image

from handlers.explain import occlude, overlay
from handlers.image_spec import ImageLimits, ImageSpec
from handlers.model import PixelModel
from handlers.pipeline import Pipeline
from handlers.preprocess import normalize

SPEC = ImageSpec(32, 32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 14 * 14, 4),
    ).eval()


def explained(network: torch.nn.Module, sizes: tuple[int, ...]) -> Pipeline:
    model = PixelModel(network, SPEC)
    return Pipeline(model, SPEC, ImageLimits(), torch.device("cpu"), 1, sizes)


@pytest.fixture
def pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=generator)


def test_occlusion_is_captums(network: torch.nn.Module, pixels: torch.Tensor) -> None:
    from captum.attr import Occlusion

    fill = torch.tensor([round(value * 255) for value in SPEC.mean], dtype=torch.uint8)
    blank = fill[:, None, None].expand(3, 32, 32)
    theirs = Occlusion(network).attribute(
        normalize(pixels[None], SPEC),
        (3, 8, 8),
        (3, 4, 4),
        normalize(blank[None], SPEC),
        target=2,
    )
    ours = occlude(explained(network, (8, 1)), pixels, 2)
    torch.testing.assert_close(ours, theirs[0, 0].float(), atol=1e-4, rtol=1e-4)


def test_the_batch_size_does_not_matter(network: torch.nn.Module, pixels: torch.Tensor) -> None:
    one, many = (occlude(explained(network, sizes), pixels, 0) for sizes in ((1,), (64, 1)))
    torch.testing.assert_close(one, many, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [3, 5, 17, 224])
def test_every_pixel_is_covered(side: int) -> None:
    spec = ImageSpec(side, side, (0.5,), (0.25,), mode="L")
    pipeline = Pipeline(
        lambda images: images.flatten(1).sum(1, keepdim=True),
        spec, ImageLimits(), torch.device("cpu"), 1,
    )  # fmt: skip
    heat = occlude(pipeline, torch.full((1, side, side), 200, dtype=torch.uint8), 0)
    assert heat.shape == (side, side)
    assert bool((heat > 0).all())  # every bright pixel adds to the sum


def test_the_overlay_is_red_for_and_blue_against() -> None:
    pixels = torch.full((1, 4, 4), 128, dtype=torch.uint8)
    heat = torch.zeros(4, 4)
    heat[0, 0], heat[0, 3] = 2.0, -2.0
    image = Image.open(BytesIO(overlay(pixels, heat)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (4, 4))
    for_it, against, neither = (image.getpixel(place) for place in ((0, 0), (3, 0), (1, 1)))
    assert for_it[0] > 128 > for_it[2]
    assert against[2] > 128 > against[0]
    assert neither == (128, 128, 128)


def test_no_evidence_at_all_is_the_gray_image() -> None:
    image = Image.open(BytesIO(overlay(torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(2, 2))))
    assert image.getpixel((0, 0)) == (0, 0, 0)
