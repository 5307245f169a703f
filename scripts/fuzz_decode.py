"""Look for image bytes that break the decode path, guided by coverage (`make fuzz`).

    python scripts/fuzz_decode.py [-max_total_time=60]

Takes libFuzzer's options (https://llvm.org/docs/LibFuzzer.html). An input is a finding when it
ends in anything but pixels or a 4xx of its own, takes more than 200 ms of CPU, or makes the
process grow by more than 64 MB; it is then written to ``.fuzz/crash-…``, and the run ends with
a traceback. Inputs that reach new code are kept in ``.fuzz/corpus`` for the next run.
"""

from __future__ import annotations

import random
import resource
import struct
import sys
import time
import zlib
from io import BytesIO
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["handlers", "PIL"]):
    from PIL import Image

    from handlers.errors import ImageError
    from handlers.image_spec import ImageLimits, ImageSpec
    from handlers.preprocess import load_pixels

FOLDER = Path(".fuzz")
SPEC = ImageSpec(20, 16, (0.5,) * 3, (0.25,) * 3)
LIMITS = ImageLimits(max_pixels=1_000_000)  # below 200 ms by far, so that only a fault is slower
MAX_CPU_S = 0.2
MAX_GROWTH_KB = 64 * 1024
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def one_input(data: bytes) -> None:
    """Load one image as the handler would; raise for whatever it must not do."""
    rss_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        pixels = load_pixels(data, SPEC, LIMITS)
    except ImageError as refusal:
        if refusal.status not in (400, 413, 415):
            raise
    else:
        if tuple(pixels.shape) != (3, 16, 16):
            raise RuntimeError(f"gave pixels of shape {tuple(pixels.shape)}")
    if (cpu_s := time.process_time() - started) > MAX_CPU_S:
        raise RuntimeError(f"took {cpu_s:.3f} s of CPU")
    growth_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before
    if growth_kb > MAX_GROWTH_KB:
        raise RuntimeError(f"grew by {growth_kb / 1024:.0f} MB")


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Let libFuzzer change the input; in half of the PNGs, make the checksums right again."""
    changed: bytes = atheris.Mutate(data, max_size)
    if not changed.startswith(PNG_SIGNATURE) or random.Random(seed).random() < 0.5:
        return changed
    parts, start = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while start + 12 <= len(changed):
        (length,) = struct.unpack_from(">I", changed, start)
        body = changed[start + 4 : start + 8 + length]
        parts.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
        start += 12 + length
    return b"".join(parts)[:max_size]


def write_seeds(folder: Path) -> None:
    """Write one small file of every format and mode that is served."""
    kinds = {
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "JPEG": ("L", "RGB", "CMYK"),
        "GIF": ("P",),
        "BMP": ("1", "L", "RGB"),
        "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"),
        "WEBP": ("RGB", "RGBA"),
    }
    image = Image.linear_gradient("L").resize((24, 16))
    for kind, modes in kinds.items():
        for mode in modes:
            buffer = BytesIO()
            image.convert(mode).save(buffer, kind)
            (folder / f"{kind}-{mode.replace(';', '_')}").write_bytes(buffer.getvalue())


def main() -> None:
    """Fuzz until libFuzzer's own limits end it."""
    corpus, seeds = FOLDER / "corpus", FOLDER / "seeds"
    for folder in (corpus, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    write_seeds(seeds)
    options = [f"-artifact_prefix={FOLDER}/", "-max_len=4096", *sys.argv[1:]]
    atheris.Setup(
        [sys.argv[0], *options, str(corpus), str(seeds)], one_input, custom_mutator=mutate
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
