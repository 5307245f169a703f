"""What a GPU decodes, what is left to the CPU, and how they come together in one batch.

torchvision does on a CPU what it does on a GPU, so that all but the streams is tested here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pictures import encode, quadrants, turned
from PIL import Image

from handlers.errors import BadImage, ImageError
from handlers.gpu import Gpu
from handlers.gpu_decode import GpuDecoder, suits
from handlers.image_spec import ImageLimits, ImageSpec
from handlers.pipeline import HALVED_FROM, Loaded, Pipeline
from handlers.preprocess import load_pixels
from handlers.transfer import Slot, Uploader
from marina.bench.images import photographs

SPEC = ImageSpec(64, 56, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), decode="fast")
LIMITS = ImageLimits()
DEVICES = [pytest.param("cpu")]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))

JPEG = encode(quadrants(), "JPEG")
NOISE = encode(Image.effect_noise((200, 200), 90).convert("RGB"), "JPEG")
LEFT_TO_THE_CPU = {
    "PNG": encode(quadrants(), "PNG"),
    "turned": turned("JPEG", 6),
    "CMYK": encode(quadrants().convert("CMYK"), "JPEG"),
    "cut off": NOISE[:-500],
    "no image": b"no image",
    "empty": b"",
}


class Event:
    """Of a stream that never lags."""

    waits = 0

    def synchronize(self) -> None:
        self.waits += 1


class CpuUploader:
    """Takes its turn as `Uploader` does."""

    def __init__(self, most: int) -> None:
        pixels = torch.empty(most, 3, 56, 56, dtype=torch.uint8)
        self.slot = Slot(pixels, Event())  # type: ignore[arg-type]
        self.sizes: list[int] = []

    def upload(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        self.sizes.append(len(images))
        return self.slot.gather(images).clone()


def pipeline(device: str, most: int = 64) -> Pipeline:
    where = torch.device(device)
    uploader = Uploader(SPEC, where, most) if device == "cuda" else CpuUploader(most)
    gpu = Gpu(uploader, GpuDecoder(SPEC, where))  # type: ignore[arg-type]
    return Pipeline(lambda x: x.float().mean(dim=(2, 3)), SPEC, LIMITS, where, 2, (most, 1), gpu)


def test_plain_jpegs_go_to_the_gpu() -> None:
    assert suits(JPEG, LIMITS)
    assert suits(JPEG + bytes(8), LIMITS)
    assert suits(encode(quadrants().convert("L"), "JPEG"), LIMITS)


@pytest.mark.parametrize("name", LEFT_TO_THE_CPU)
def test_the_rest_is_left_to_the_cpu(name: str) -> None:
    assert not suits(LEFT_TO_THE_CPU[name], LIMITS)


def test_what_is_too_large_is_left_to_the_cpu_which_refuses_it() -> None:
    assert not suits(JPEG, ImageLimits(max_pixels=10))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_its_pixels_are_nearly_those_of_the_exact_mode(
    tmp_path: Path, device: str, interpolation: str
) -> None:
    spec = replace(SPEC, resize=256, crop=224, interpolation=interpolation)
    files = [file.read_bytes() for file in photographs("photo-640", tmp_path)]
    decoded = GpuDecoder(spec, torch.device(device)).load(files)
    for file, image in zip(files, decoded, strict=True):
        exact = load_pixels(file, replace(spec, decode="exact"))
        difference = (image.cpu().int() - exact.int()).abs().float()
        assert image.shape == exact.shape
        assert difference.mean() < 1
        assert (difference <= 4).float().mean() > 0.99


@pytest.mark.parametrize("device", DEVICES)
def test_gray_for_a_gray_model(device: str) -> None:
    spec = ImageSpec(64, 56, (0.5,), (0.5,), mode="L", decode="fast")
    (image,) = GpuDecoder(spec, torch.device(device)).load([JPEG])
    exact = load_pixels(JPEG, replace(spec, decode="exact"))
    assert image.shape == (1, 56, 56)
    assert (image.cpu().int() - exact.int()).abs().float().mean() < 2


@pytest.mark.parametrize("device", DEVICES)
def test_a_mixed_batch_keeps_its_order(device: str) -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (99, 99, 99)]
    png, first, gray, last = [Image.new("RGB", (90, 70), colour) for colour in colours]
    files = [
        encode(png, "PNG"),
        encode(first, "JPEG"),
        b"no image",
        encode(gray.convert("CMYK"), "JPEG"),
        encode(last, "JPEG"),
    ]
    mixed = pipeline(device)
    loaded = mixed.load_all(files)
    assert [isinstance(each, Loaded) for each in loaded] == [True, True, False, True, True]
    assert isinstance(loaded[2], BadImage)
    means = mixed.predict([each.pixels for each in loaded if isinstance(each, Loaded)]).cpu()
    torch.testing.assert_close(means, torch.tensor(colours).float(), atol=3.0, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_damage_is_told_of_the_image_that_has_it(device: str) -> None:
    headless = NOISE[:200] + NOISE[-2:]  # has an end, but lost what is between
    loaded = pipeline(device).load_all([JPEG, headless])
    assert isinstance(loaded[0], Loaded)
    assert isinstance(loaded[1], ImageError)


class Refusing:
    """A decoder that meets damage, which it does not tell from the others."""

    def load(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        raise RuntimeError("nvjpegDecode failed")


def test_what_the_gpu_cannot_decode_the_cpu_decodes(caplog: pytest.LogCaptureFixture) -> None:
    gpu = Gpu(CpuUploader(4), Refusing())  # type: ignore[arg-type]
    refused = Pipeline(lambda x: x, SPEC, LIMITS, torch.device("cpu"), 1, (4, 1), gpu)
    loaded = refused.load_all([JPEG, NOISE])
    for file, each in zip([JPEG, NOISE], loaded, strict=True):
        assert isinstance(each, Loaded)
        assert torch.equal(each.pixels, load_pixels(file, SPEC))
    assert "the GPU cannot decode one of 2 JPEGs: nvjpegDecode failed" in caplog.text


def test_large_batches_go_in_two_halves() -> None:
    whole = pipeline("cpu")
    assert whole._gpu is not None
    images = list(torch.randint(0, 256, (HALVED_FROM + 1, 3, 56, 56), dtype=torch.uint8))
    logits = whole.predict(images)
    torch.testing.assert_close(logits, torch.stack(images).float().mean(dim=(2, 3)))
    assert whole._gpu.uploader.sizes == [9, 8]  # type: ignore[attr-defined]


def test_more_than_a_batch_goes_in_batches() -> None:
    small = pipeline("cpu", most=4)
    assert small._gpu is not None
    images = list(torch.randint(0, 256, (10, 3, 56, 56), dtype=torch.uint8))
    logits = small.predict(images)
    torch.testing.assert_close(logits, torch.stack(images).float().mean(dim=(2, 3)))
    assert small._gpu.uploader.sizes == [4, 4, 2]  # type: ignore[attr-defined]


def test_a_buffer_is_not_written_before_its_copy_has_ended() -> None:
    event = Event()
    pixels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    slot = Slot(pixels, event)  # type: ignore[arg-type]
    gathered = slot.gather([torch.ones(3, 2, 2, dtype=torch.uint8)] * 3)
    assert event.waits == 1
    assert gathered.shape == (3, 3, 2, 2)
    assert gathered.data_ptr() == slot.pixels.data_ptr()
    assert slot.pixels.sum(dim=(1, 2, 3)).tolist() == [12, 12, 12, 0]


def test_without_a_decoder_the_cpu_decodes() -> None:
    whole = pipeline("cpu")
    assert whole.decodes_on_gpu
    whole.decode_on_cpu()
    assert not whole.decodes_on_gpu
    (loaded,) = whole.load_all([JPEG])
    assert isinstance(loaded, Loaded)
    assert torch.equal(loaded.pixels, load_pixels(JPEG, SPEC))
