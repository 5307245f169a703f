"""A network's layers, its explained answers, and where its time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

from marina.display.console import output

if TYPE_CHECKING:
    from marina.understanding.explanation import Explained
    from marina.understanding.profiling import Operation
    from marina.understanding.summary import Summary

SHOWN = 20


def summary(counted: Summary) -> None:
    """Show the layers, then the sums."""
    table = Table("layer", "kind", "output", "parameters", "MFLOPs")
    for layer in counted.layers:
        shape = " × ".join(str(length) for length in layer.output)
        parameters = f"{layer.parameters:,}" if layer.parameters else ""
        flops = f"{layer.flops / 1e6:.2f}" if layer.flops else ""
        table.add_row(layer.name, layer.kind, shape, parameters, flops)
    output.print(table)
    shape = " × ".join(str(length) for length in counted.input)
    output.print(
        f"input {shape}: {counted.parameters:,} parameters ({counted.trainable:,} trainable), "
        f"{counted.flops / 1e9:.3f} GFLOPs forward; "
        f"{counted.parameter_bytes / 2**20:.1f} MiB of parameters, "
        f"{counted.activation_bytes / 2**20:.1f} MiB of activations",
        soft_wrap=True,
        highlight=False,
    )


def explanations(explained: list[Explained]) -> None:
    """Show each image's class and where its pictures are."""
    table = Table("image", "class", "probability", Column("pictures", overflow="fold"))
    for entry in explained:
        pictures = "\n".join(escape(str(path)) for path in entry.pictures.values())
        label = escape(entry.label)
        table.add_row(escape(str(entry.file)), label, f"{entry.probability:.1%}", pictures)
    output.print(table)


def operations(found: list[Operation]) -> None:
    """Show the costliest operations."""
    table = Table("operation", "calls", "own ms", "total ms", "share of all")
    for entry in found[:SHOWN]:
        times = (f"{entry.self_ms:.2f}", f"{entry.total_ms:.2f}", f"{entry.share:.1%}")
        table.add_row(escape(entry.name), str(entry.calls), *times)
    output.print(table)
