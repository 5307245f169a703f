"""What must be there before the first round: environments, archives, bodies of requests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from contestants import DECODE, PRECISIONS, REPO, REQUIREMENTS, Contestant, archive_name

from handlers.cores import usable_cores
from marina.bench.images import photographs

# What the servers of Marina's own are set to; see `marina bench sweep`.
SERVE = {"workers": usable_cores(), "batch_size": 8, "max_batch_delay_ms": 1}
ARCHIVES = ("runs", "store", "unpacked", "stock")  # folders that hold our code of the day
PYTHON = "3.11"  # that the requirements were resolved for


def install(environment: str, work: Path) -> None:
    """Make a peer's environment from its pinned requirements, unless it is there already."""
    wanted = (REQUIREMENTS / f"{environment}.txt").read_text()
    folder = work / "envs" / environment
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin")
    uv = uv or shutil.which("uv") or "uv"
    _run(uv, "venv", "-q", "--python", PYTHON, str(folder))
    python = str(folder / "bin" / "python")
    _run(
        uv, "pip", "install", "-q", "--python", python,
        "-r", str(REQUIREMENTS / f"{environment}.txt"),
    )  # fmt: skip
    stamp.write_text(wanted)


def archive_all(work: Path, decode: str = DECODE) -> dict[str, str]:
    """Make our archives, one for each precision, unpacked, too, and the stock handler's.

    Returns:
        What went wrong, by precision: a processor may lack its instructions.
    """
    failed = {}
    pairs = [("fp32", "exact"), *((precision, decode) for precision in PRECISIONS)]
    for precision, how in pairs:  # of the first peers have the file
        try:
            _archive(precision, how, work)
        except subprocess.CalledProcessError as err:
            failed[precision] = (err.stderr or str(err)).strip().splitlines()[-1]
            continue
        unpack(archive_name(precision, how), work)
    _archive_stock(work)
    return failed


def unpack(name: str, work: Path) -> Path:
    """Unpack one of our archives, unless it is already, and give its folder."""
    folder = work / "unpacked" / name
    if not folder.exists():
        with zipfile.ZipFile(work / "store" / f"{name}-1.0.mar") as content:
            content.extractall(folder)
    return folder


def bodies(contestant: Contestant, size: str, work: Path) -> tuple[Path, ...]:
    """Write the bodies of a contestant's requests: the same photographs for all."""
    folder = work / "images"
    folder.mkdir(parents=True, exist_ok=True)
    images = photographs(size, folder)
    if contestant.wire.encode is bytes:
        return images
    files = []
    for image in images:
        file = work / "bodies" / f"{contestant.name}-{image.stem}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contestant.wire.encode(image.read_bytes()))
        files.append(file)
    return tuple(files)


def _archive(precision: str, decode: str, work: Path) -> None:
    name = archive_name(precision, decode)
    run = work / "runs" / name.removeprefix("bench_")
    if (work / "store" / f"{name}-1.0.mar").exists():
        return
    shutil.rmtree(run, ignore_errors=True)
    changes = {
        "name": name,
        "architecture.weights": "null",
        "data.root": work / "photographs",
        "data.splits": "{train: test}",  # the two photographs calibrate int8, too
        "image.decode": decode,
        "serve.precision": precision,
        # Random weights give near ties, which a rounding may turn.
        "serve.max_accuracy_loss": 0.99,
        **{f"serve.{key}": value for key, value in SERVE.items()},
    }
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    marina = str(Path(sys.executable).with_name("marina"))
    recipe = str(REPO / "models" / "resnet18_imagenet.yaml")
    _run(marina, "train", recipe, "--run-dir", str(run), *words)
    _run(marina, "archive", str(run), "--version", "1.0", "--model-store", str(work / "store"))


def _archive_stock(work: Path) -> None:
    folder = work / "stock"
    if (folder / "stock.mar").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    names = work / "index_to_name.json"
    with zipfile.ZipFile(work / "store" / "bench_fp32-1.0.mar") as content:
        names.write_bytes(content.read("index_to_name.json"))
    archiver = str(Path(sys.executable).with_name("torch-model-archiver"))
    _run(
        archiver, "--model-name", "stock", "--version", "1.0", "--handler", "image_classifier",
        "--serialized-file", str(work / "runs" / "fp32" / "model.pt"),
        "--extra-files", str(names), "--export-path", str(folder),
    )  # fmt: skip


def _run(*words: str) -> None:
    subprocess.run(words, cwd=REPO, check=True, capture_output=True, text=True)
