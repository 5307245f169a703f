"""Verbs to understand a network: summary, explain, profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import Device, DeviceChoice, Json, RunFolder, print_json
from marina.progress import console
from marina.understanding.method import Method

PANEL = "Understanding"
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Images in one pass.")]


@app.command(rich_help_panel=PANEL)
def summary(run: RunFolder, batch_size: Batch = 1, as_json: Json = False) -> None:
    """Show a run's layers, parameters, FLOPs and memory."""
    from marina import display
    from marina.train.run import Run
    from marina.understanding.summary import summarize

    found = Run.find(run)
    counted = summarize(found.load_network(), found.recipe.image, batch_size)
    if as_json:
        print_json(counted.as_dict())
    else:
        display.summary(counted)


@app.command(rich_help_panel=PANEL)
def explain(
    run: RunFolder,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Files, folders, globs.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the pictures. Default: RUN/explanations.")
    ] = None,
    method: Annotated[
        list[Method], typer.Option(help="May be given more than once. Default: all of them.")
    ] = list(Method),  # noqa: B006 - typer reads it, nobody changes it
    layer: Annotated[
        str | None, typer.Option(help="For Grad-CAM and feature maps, such as layer3.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw what in images speaks for their class, and what the layers make of them."""
    from marina import display
    from marina.predict import find_images
    from marina.train.run import Run
    from marina.understanding.explanation import explain as explain_run

    found = Run.find(run)
    folder = out or found.folder / "explanations"
    explained = explain_run(found, find_images(images), folder, method, layer)
    if as_json:
        print_json([entry.as_dict() for entry in explained])
    else:
        display.explanations(explained)


@app.command(rich_help_panel=PANEL)
def profile(
    run: RunFolder,
    batch_size: Batch = 8,
    steps: Annotated[int, typer.Option(min=1, help="Passes that are measured.")] = 5,
    train: Annotated[bool, typer.Option("--train", help="The backward pass too.")] = False,
    device: Device = DeviceChoice.cpu,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Default: RUN/profile/trace.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show where a network's time goes; writes a trace for ui.perfetto.dev."""
    from marina import display
    from marina.train.run import Run
    from marina.understanding.profiling import profile_run

    found = Run.find(run)
    file = trace or found.folder / "profile" / "trace.json"
    operations = profile_run(found, file, batch_size, steps, device, backward=train)
    if as_json:
        print_json([entry.as_dict() for entry in operations])
    else:
        display.operations(operations)
    console.print(f"trace: {file}", soft_wrap=True, highlight=False)
