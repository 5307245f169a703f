"""The in-process limit: how many answers a second the archive's handler gives without a server.

It runs in as many processes as there are cores with a thread each, and the other way round, since
which of the two is faster depends on the model and the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from handlers.cores import usable_cores
from marina.bench import machine
from marina.bench.images import find_images
from marina.errors import BenchError
from marina.files import sha256_file, write_whole
from marina.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path("bench") / "limits"


@dataclass(frozen=True)
class Way:
    """One way to use the machine, and what it gave.

    Attributes:
        processes: Copies of the handler.
        threads: Of each.
        batch_size: Images in each call.
        throughput: Answers per second, of all processes together.
        cpu_ms: CPU time per answer.
        p50_ms: Median time of a call, which is a batch.
    """

    processes: int
    threads: int
    batch_size: int
    throughput: float
    cpu_ms: float
    p50_ms: float

    @property
    def layout(self) -> str:
        """The way, in words."""
        return f"{self.processes} × {self.threads} threads, batch {self.batch_size}"


@dataclass(frozen=True)
class Ceiling:
    """The in-process limit of one archive with one set of images on one machine.

    Attributes:
        archive: Name of the ``.mar``.
        sha256: Of that file.
        images: See `marina.bench.images.ImageSet.as_dict`.
        ways: All that were tried.
        environment: The machine.
    """

    archive: str
    sha256: str
    images: dict[str, Any]
    ways: list[Way]
    environment: dict[str, Any]

    @property
    def best(self) -> Way:
        """The fastest way: the limit."""
        return max(self.ways, key=lambda way: way.throughput)

    def as_dict(self) -> dict[str, Any]:
        """Give it as the file holds it."""
        best = {"throughput": self.best.throughput, "layout": self.best.layout}
        alone = [way.p50_ms for way in self.ways if way.batch_size == 1]
        return {**asdict(self), **best, "lone_ms": min(alone) if alone else None}


def find_ceiling(
    archive: Path, images: str | None, batch_sizes: Sequence[int], seconds: float
) -> Ceiling:
    """Measure the limit of an archive, and keep it for later results to be held against.

    Args:
        archive: The ``.mar``.
        images: See `marina.bench.images.find`.
        batch_sizes: To try; none at all tries 1, 8 and the archive's own.
        seconds: For each way.

    Raises:
        BenchError: The handler does not load, or refuses an image.
    """
    with tempfile.TemporaryDirectory(prefix="marina-limit-") as folder:
        scratch, unpacked = Path(folder), Path(folder) / "archive"
        chosen = find_images(images, archive, scratch)
        own = _unpack(archive, unpacked)
        sizes = sorted(set(batch_sizes) or {1, 8, own})
        listing = scratch / "images.json"
        listing.write_text(json.dumps([str(file.resolve()) for file in chosen.files]))
        plans = [(processes, size) for processes in _layouts() for size in sizes]
        ways = []
        with progress_bar("limit", len(plans)) as bar:
            for processes, size in plans:
                ways.append(try_way(unpacked, listing, processes, size, seconds))
                bar.advance(note=f"{ways[-1].layout}: {ways[-1].throughput:.1f}/s")
        ceiling = Ceiling(
            archive.name, sha256_file(archive), chosen.as_dict(), ways, machine.describe()
        )
    write_whole(_file(ceiling.sha256, ceiling.images["sha256"]), json.dumps(ceiling.as_dict()))
    return ceiling


def known_ceiling(archive_sha256: str | None, images_sha256: str) -> dict[str, Any] | None:
    """Give the limit that was measured here before for an archive and its images."""
    if archive_sha256 is None:
        return None
    try:
        known: dict[str, Any] = json.loads(_file(archive_sha256, images_sha256).read_text())
    except (OSError, ValueError):
        return None
    here = machine.describe()
    same = all(known["environment"][key] == here[key] for key in ("cpu", "usable_cores", "torch"))
    return {key: known[key] for key in ("throughput", "layout", "lone_ms")} if same else None


def _file(archive_sha256: str, images_sha256: str) -> Path:
    return FOLDER / f"{archive_sha256[:16]}-{images_sha256[:16]}.json"


def _layouts() -> list[int]:
    """Give the numbers of processes to try: one per core, and one with all cores."""
    return sorted({usable_cores(), 1}, reverse=True)


def _unpack(archive: Path, folder: Path) -> int:
    """Unpack an archive and give its own batch size."""
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)  # zipfile keeps its members inside
        return int(yaml.safe_load((folder / "model-config.yaml").read_text()).get("batchSize", 1))
    except (OSError, zipfile.BadZipFile) as err:
        raise BenchError(f"cannot read the archive {archive}: {err}") from err


def _count(child: subprocess.Popen[str]) -> dict[str, float]:
    said, complaints = child.communicate()
    if not said:
        raise BenchError(
            f"a handler died as it was measured (exit status {child.returncode}): "
            f"{complaints.strip()[-2000:]}"
        )
    counted: dict[str, float] = json.loads(said)
    return counted


def try_way(folder: Path, images: Path, processes: int, batch_size: int, seconds: float) -> Way:
    """Measure one way to use the machine.

    Args:
        folder: The unpacked archive.
        images: JSON list of files.
        processes: Copies of the handler, which share the cores out among them.
        batch_size: Images in each call.
        seconds: How long.

    Raises:
        BenchError: The handler does not load, or refuses an image.
    """
    words = [str(folder), str(images), str(processes), str(batch_size), str(seconds)]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "marina.bench.inprocess", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for child in children:
            assert child.stdout is not None  # noqa: S101 - opened with a pipe
            if child.stdout.readline() != "ready\n":
                said = child.communicate()[1].strip()[-2000:]
                raise BenchError(f"the handler of the archive does not run in-process: {said}")
        for child in children:
            assert child.stdin is not None  # noqa: S101 - opened with a pipe
            child.stdin.write("go\n")
            child.stdin.flush()
        counts = [_count(child) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    answers = sum(count["answers"] for count in counts)
    return Way(
        processes=processes,
        threads=max(1, usable_cores() // processes),
        batch_size=batch_size,
        throughput=sum(count["answers"] / count["seconds"] for count in counts),
        cpu_ms=sum(count["cpu_s"] for count in counts) / answers * 1e3,
        p50_ms=sorted(count["p50_ms"] for count in counts)[len(counts) // 2],
    )
