"""Classifying files on a running server: each image's answer, or its own error."""

from __future__ import annotations

import glob
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marina.client import Client, GrpcClient
from marina.errors import ClientError, ConnectionFailed, DataError
from marina.progress import progress_bar

if TYPE_CHECKING:
    from marina.client import Prediction
    from marina.client.token import Token

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        file: The image.
        predictions: The likeliest classes, the first the likeliest; empty if it failed.
        latency_ms: From before the request to the parsed answer.
        error: Why it failed; None if it did not.
    """

    file: Path
    predictions: list[Prediction]
    latency_ms: float
    error: ClientError | None

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``marina predict --json`` prints it."""
        error = self.error
        return {
            "file": str(self.file),
            "predictions": [asdict(prediction) for prediction in self.predictions],
            "latency_ms": round(self.latency_ms, 3),
            "error": error
            and {"code": error.status, "type": type(error).__name__, "message": str(error)},
        }


def find_images(arguments: list[str]) -> list[Path]:
    """Expand files, folders (searched below) and globs, in order.

    Raises:
        DataError: An argument matches no image.
    """
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            matches = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matches:
            raise DataError(f"no image at {argument}")
        found += matches
    return found


def connect(url: str | None, *, grpc: bool, token: Token | None = None) -> Client | GrpcClient:
    """Open a client for the protocol, at its default address unless one is given."""
    if grpc:
        target = url or f"127.0.0.1:{os.environ.get('MARINA_GRPC_PORT', 7070)}"
        return GrpcClient(target, token=token)
    address = url or f"http://127.0.0.1:{os.environ.get('MARINA_REST_PORT', 8080)}"
    return Client(address, token=token)


def predict_each(
    files: list[Path],
    url: str | None,
    model: str,
    version: str | None,
    *,
    grpc: bool = False,
    top_k: int | None = None,
    token: Token | None = None,
) -> list[Outcome]:
    """Classify each file; one that fails does not stop the others.

    Raises:
        ConnectionFailed: Nothing answers at ``url``, so no image can succeed.
    """
    outcomes = []
    with connect(url, grpc=grpc, token=token) as client, progress_bar("predict", len(files)) as bar:
        for file in files:
            start = time.perf_counter()
            predictions: list[Prediction] = []
            error = None
            try:
                predictions = client.predict(file, model, version, top_k)
            except ConnectionFailed:
                raise
            except ClientError as err:
                error = err
            outcomes.append(Outcome(file, predictions, (time.perf_counter() - start) * 1e3, error))
            bar.advance(note="gRPC" if grpc else "REST")
    return outcomes
