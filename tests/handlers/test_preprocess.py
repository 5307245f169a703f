from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
import torch
from pictures import encode, quadrants
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import InterpolationMode, v2

from handlers.arrow import shared
from handlers.decode import decode
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


SPEC = ImageSpec(64, 56, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FAST = replace(SPEC, decode="fast")


def photograph(size: tuple[int, int], kind: str = "JPEG") -> bytes:
    image = Image.fromarray(load_sample_image("china.jpg")).resize(size, Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((640, 427), (320, 214)),
        ((1030, 1024), (129, 128)),
        ((1030, 1023), (258, 256)),
        ((255, 300), (255, 300)),
        ((100, 2048), (100, 2048)),
    ],
)
def test_a_jpeg_is_never_shrunk_below_twice_the_target(
    size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    image = decode(photograph(size), "RGB", shrink_px=FAST.shrink_px)
    assert image.size == decoded
    assert min(decoded) >= min(2 * 64, *size)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(64, 64), (81, 64), (427, 640), (1600, 1071), (333, 3000)])
def test_fast_pixels_are_near_the_exact_ones(size: tuple[int, int], kind: str) -> None:
    data = photograph(size, kind)
    exact, fast = load_pixels(data, SPEC).int(), load_pixels(data, FAST).int()
    assert fast.shape == exact.shape == (3, 56, 56)
    difference = (exact - fast).abs()
    assert float(difference.float().mean()) < 2.5  # of 255
    if min(size) < 128:  # nothing was shrunk or averaged
        assert int(difference.max()) <= 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(64, 64), (81, 64), (427, 640), (9, 13), (700, 31)])
def test_fast_pixels_are_the_same_without_a_copy(
    size: tuple[int, int], interpolation: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = 3 if mode == "RGB" else 1
    spec = ImageSpec(64, 56, (0.5,) * channels, (0.5,) * channels, interpolation, mode, "fast")
    image = noise(size, mode)
    shared_pixels = pixels(image, spec)
    monkeypatch.delattr(Image.Image, "__arrow_c_array__")
    copied = pixels(image, spec)
    image.paste(0, (0, 0, *size))
    assert torch.equal(shared_pixels, copied)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_images_memory_is_shared(mode: str) -> None:
    image = noise((7, 5), mode)
    with shared(image) as memory:
        assert memory is not None
        samples = memory[..., : len(mode) if mode == "RGB" else 1]  # (H, W, C)
        assert bytes(samples.flatten().tolist()) == image.tobytes()
        image.putpixel((3, 2), 9 if mode == "L" else (9, 8, 7))
        assert memory[2, 3, 0] == 9


def test_an_image_in_pieces_is_not_shared() -> None:
    with shared(Image.new("RGB", (4000, 1200))) as memory:  # 19 MB, of blocks of 16
        assert memory is None
    assert pixels(Image.new("RGB", (4000, 1200), "red"), FAST)[0].min() == 255


def test_exact_decoding_never_shrinks() -> None:
    assert SPEC.shrink_px is None
    assert decode(photograph((1600, 1071)), "RGB", shrink_px=SPEC.shrink_px).size == (1600, 1071)
