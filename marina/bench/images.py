"""The images that a load sends: a folder, an archive's golden ones, or photographs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.golden import Golden
from marina.errors import BenchError
from marina.predict import SUFFIXES

# Sizes in pixels of the photographs that can be asked for by name.
PHOTOGRAPHS = {"photo-224": (224, 224), "photo-640": (640, 427), "photo-12mp": (4000, 3000)}
_QUALITY = 90


@dataclass(frozen=True)
class ImageSet:
    """Images on disk.

    Attributes:
        source: Where they come from, for people.
        files: The images.
    """

    source: str
    files: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give it as a result holds it; the digest is over the contents, in order."""
        digest = hashlib.sha256()
        size = 0
        for file in self.files:
            content = file.read_bytes()
            size += len(content)
            digest.update(hashlib.sha256(content).digest())
        return {
            "source": self.source,
            "count": len(self.files),
            "mean_bytes": round(size / len(self.files)),
            "sha256": digest.hexdigest(),
        }


def find_images(images: str | None, archive: Path | None, scratch: Path) -> ImageSet:
    """Find the images to send.

    Args:
        images: A folder, or one of `PHOTOGRAPHS`; None takes the archive's golden images, or
            photographs where no archive is known.
        archive: The ``.mar`` that is measured.
        scratch: An existing folder for images that are made here.

    Raises:
        BenchError: The folder has no images.
    """
    if images is None and archive is not None:
        return ImageSet(f"golden images of {archive.name}", _golden(archive, scratch))
    if images is None or images in PHOTOGRAPHS:
        name = images or "photo-640"
        return ImageSet(name, photographs(name, scratch))
    folder = Path(images)
    files = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES))
    if not files:
        names = ", ".join(PHOTOGRAPHS)
        raise BenchError(f"no images in {folder}: --images takes a folder of them, or {names}")
    return ImageSet(str(folder), files)


def photographs(name: str, folder: Path) -> tuple[Path, ...]:
    """Write scikit-learn's two sample photographs as JPEGs of one of the named sizes."""
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_images

    files = []
    for number, pixels in enumerate(load_sample_images().images):
        image = ImageOps.fit(Image.fromarray(pixels), PHOTOGRAPHS[name], Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=_QUALITY)
        files.append(folder / f"{name}-{number}.jpg")
        files[-1].write_bytes(encoded.getvalue())
    return tuple(files)


def _golden(archive: Path, folder: Path) -> tuple[Path, ...]:
    with zipfile.ZipFile(archive) as content:
        images = Golden.load(zipfile.Path(content, "golden/")).images
    files = []
    for image in images:
        files.append(folder / f"golden-{image.file}")
        files[-1].write_bytes(image.data)
    return tuple(files)
