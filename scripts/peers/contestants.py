"""Who is measured: each server in its environment, with its natural pipeline and with ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wires import Wire, base64_json, form, open_inference, open_inference_binary, raw

from handlers.cores import usable_cores

HERE = Path(__file__).parent
REPO = HERE.parents[1]
SERVERS = HERE / "servers"
REQUIREMENTS = HERE / "requirements"
PRECISIONS = ("fp32", "bf16", "int8")
DECODE = "fast"  # unless told otherwise
BATCH = 8


@dataclass(frozen=True)
class Contestant:
    """One server with one pipeline.

    Attributes:
        name: Of the server.
        pipeline: ``natural``, ``default``, ``tuned``, ``ours`` (in fp32), ``ours-bf16``,
            ``ours-int8`` or, of Marina, a precision, which decodes as all do unless it says
            otherwise.
        command: Words; ``{port}`` is the first of six free ports.
        wire: How images travel to it.
        environment: Name of its environment; None for the project's own.
        batch: Most images in one call of the pipeline.
        precision: Of the archive of ours that it computes with, if it does.
    """

    name: str
    pipeline: str
    command: tuple[str, ...]
    wire: Wire
    environment: str | None = None
    batch: int = BATCH
    precision: str | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A name for files."""
        return f"{self.name.lower().replace(' ', '-')}-{self.pipeline}"

    @property
    def title(self) -> str:
        """A name for people."""
        return f"{self.name} ({self.pipeline})"


def contestants(
    work: Path, decode: str = DECODE, inside: Sequence[str] = ("fp32",)
) -> list[Contestant]:
    """Give everyone.

    Args:
        work: Folder of the archives and environments.
        decode: Of Marina's servers, and of what peers have of ours, see ``ImageSpec``.
        inside: Precisions in which peers have our pipeline.
    """
    found = [_stock(kind, work) for kind in ("default", "tuned")]
    found += [
        _peer(name, words, wire, batch, precision, decode, work)
        for name, words, wire, batch in _PEERS
        for precision in (None, *inside)
    ]
    found += [_marina(precision, precision, decode, work) for precision in PRECISIONS]
    if decode != "exact":
        found.append(_marina("fp32-exact", "fp32", "exact", work))
    return found


_PEERS: list[tuple[str, tuple[str, ...], Wire, int]] = [
    ("FastAPI", ("{python}", "fastapi_server.py", "{port}"), raw("/predict"), 1),
    ("LitServe", ("{python}", "litserve_server.py", "{port}"), base64_json("/predict"), BATCH),
    (
        "mosec",
        (
            "{python}", "mosec_server.py", "--port", "{port}", "--address", "127.0.0.1",
            "--timeout", "120000",  # of a request in ms; its default is 3 s
        ),
        raw("/inference"),
        BATCH,
    ),
    (
        "BentoML",
        (
            "{bin}/bentoml", "serve", "bentoml_server:Classifier",
            "--host", "127.0.0.1", "--port", "{port}",
        ),
        form("/predict", "images"),
        BATCH,
    ),
    ("Ray Serve", ("{python}", "rayserve_server.py", "{port}"), raw("/predict"), BATCH),
    (
        "MLServer",
        ("{python}", "mlserver_server.py", "{port}"),
        open_inference("/v2/models/resnet/infer"),
        BATCH,
    ),
    (
        "Triton",
        ("{python}", "triton_server.py", "{port}"),
        open_inference_binary("/v2/models/resnet/infer"),
        BATCH,
    ),
]  # fmt: skip


def environment_of(name: str) -> str:
    """Give the name of a server's environment and requirements."""
    return name.lower().replace(" ", "")


def _peer(
    name: str,
    words: tuple[str, ...],
    wire: Wire,
    batch: int,
    precision: str | None,
    decode: str,
    work: Path,
) -> Contestant:
    """Give a peer with our pipeline in a precision, or with its natural one."""
    environment = environment_of(name)
    programs = (work / "envs" / environment / "bin").absolute()
    command = tuple(
        word.replace("{python}", str(programs / "python")).replace("{bin}", str(programs))
        for word in words
    )
    archive = archive_name(precision or "fp32", decode)
    variables = {
        "PEERS_PIPELINE": "ours" if precision else "natural",
        "PEERS_MODEL": str((work / "runs" / "fp32" / "model.pt").absolute()),
        "PEERS_ARCHIVE": str((work / "unpacked" / archive).absolute()),
        "PEERS_WORKERS": str(usable_cores()),
        "PEERS_BATCH": str(batch),
        "PYTHONPATH": f"{HERE}:{SERVERS}:{REPO}",
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    pipeline = {None: "natural", "fp32": "ours"}.get(precision, f"ours-{precision}")
    return Contestant(name, pipeline, command, wire, environment, batch, precision, variables)


def _stock(kind: str, work: Path) -> Contestant:
    words = (sys.executable, str(SERVERS / "torchserve_server.py"), "{port}", f"{work}/stock", kind)
    return Contestant("TorchServe", kind, words, raw("/predictions/stock"))


def archive_name(precision: str, decode: str) -> str:
    """Give the name of one of our models."""
    return f"bench_{precision}" if decode == "exact" else f"bench_{precision}_{decode}"


def _marina(pipeline: str, precision: str, decode: str, work: Path) -> Contestant:
    name = archive_name(precision, decode)
    words = [str(Path(sys.executable).with_name("marina")), "serve", f"{work}/store/{name}-1.0.mar"]
    ports = ("rest", "grpc", "management", "grpc-management", "metrics", "gateway-metrics")
    for number, port in enumerate(ports):
        words += [f"--{port}-port", f"{{port+{number}}}"]
    words += ["--log-dir", "{scratch}/logs", "--no-tokens"]
    wire = raw(f"/predictions/{name}")
    return Contestant("Marina", pipeline, tuple(words), wire, precision=precision)
