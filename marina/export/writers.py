"""Writing each format: the file is read back and proved on real images before it is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from handlers.preprocess import normalize
from marina.errors import ExportError
from marina.export import onnx, program, state_dict, torchscript
from marina.export.format import Format
from marina.export.images import evenly_spaced
from marina.export.parity import Parity, check_parity
from marina.files import sha256_file, whole_file, write_whole
from marina.train.dataset import read_split
from marina.train.evaluation import infer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from marina.train.run import Run

    Answers = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Writer:
    """How one format is written and read.

    Attributes:
        file: Its name in a run.
        save: Write a network (on the CPU, evaluation mode), given an example input.
        load: Read the file back as what gives logits.
    """

    file: str
    save: Callable[[nn.Module, torch.Tensor, Run, Path], None]
    load: Callable[[Path, Run], Answers]


WRITERS = {
    Format.state_dict: Writer("state_dict.pt", state_dict.save, state_dict.load),
    Format.onnx: Writer("model.onnx", onnx.save, onnx.load),
    Format.pt2: Writer("model.pt2", program.save, program.load),
}


def default_file(run: Run, kind: Format | None) -> Path:
    """Give where a format goes unless told otherwise."""
    return run.folder / WRITERS[kind].file if kind in WRITERS else run.model


def export(run: Run, kind: Format | None, out: Path | None = None) -> Parity:
    """Export a run in a format, and write ``parity-<format>.json`` beside it.

    None is what the recipe's backend serves and `marina archive` packs, TorchScript unless it says
    otherwise; then ``parity.json`` and the golden images are written.

    Raises:
        ParityError: The export answers differently; nothing is written.
        ExportError: The network cannot be exported so, or a package is missing.
        DataError: There are no images to prove it on.
    """
    if kind is Format.torchscript and run.recipe.serve.backend != "torchscript":
        raise ExportError(
            f"the recipe serves with {run.recipe.serve.backend}: leave out --format to export "
            "that, or train with serve.backend=torchscript"
        )
    if kind is None or kind is Format.torchscript:
        return torchscript.export(run, out)
    writer = WRITERS[kind]
    out = out or default_file(run, kind)
    images = evenly_spaced(read_split(run.recipe.data, "test"), torchscript.PARITY_IMAGES)
    network = run.load_network()
    exact = run.recipe.serve.model_copy(update={"precision": "fp32"})
    logits = infer(network, images, run.recipe)  # (images, classes)
    with whole_file(out) as file:
        writer.save(network, example(run), run, file)
        answers = infer(writer.load(file, run), images, run.recipe)
        parity = check_parity(logits, answers, images, exact)
    record = {
        **parity.as_dict(),
        "sha256": sha256_file(out),
        "checkpoint_sha256": sha256_file(run.checkpoint),
        "temperature": run.temperature,
    }
    write_whole(out.parent / f"parity-{kind}.json", json.dumps(record, indent=2))
    return parity


def example(run: Run) -> torch.Tensor:
    """Give a blank input: a batch of two, since torch.export takes one of 1 for a constant."""
    spec = run.recipe.image
    blank = torch.zeros(2, spec.channels, spec.crop, spec.crop, dtype=torch.uint8)  # (N, C, H, W)
    return normalize(blank, spec)
