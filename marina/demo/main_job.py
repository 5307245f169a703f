"""The main job end to end on scikit-learn's digits: train, export, archive, serve, verify."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from marina.archive.archive import archive
from marina.archive.store import Entry, ModelStore
from marina.display import output
from marina.errors import ParityError
from marina.predict import Outcome, predict_each
from marina.progress import console, tell
from marina.recipe import Recipe, read_recipe
from marina.serve import Server, resolve, running

if TYPE_CHECKING:
    from marina.serve import ServeConfig
    from marina.train.evaluation import Evaluation
    from marina.train.run import Run

RECIPE = Path("models/resnet.yaml")
VERSION = "1.0"
# Softmax of the same network at another batch size: float32's last digits may differ.
PROBABILITY_ATOL = 1e-4
SHOWN = 12


def run_demo(config: ServeConfig, log_dir: Path, *, once: bool) -> None:
    """Run it all; ends after the table if ``once``, else at Ctrl-C.

    Raises:
        ParityError: An answer over the wire is not the lab's.
        MarinaError: Any step failed; the message says which and why.
    """
    recipe = read_recipe(RECIPE)
    run = fresh_run(recipe)
    entry = packed(run, VERSION, ModelStore(config.model_store))
    from marina.train.evaluation import evaluate

    lab = evaluate(run)
    models = resolve([str(config.model_store / entry.file)], config.model_store)
    with running(config, models, log_dir=log_dir, on_event=tell) as server:
        _verify(lab, server, entry)
        _print_next_steps(lab, server, ends=once)
        if not once:
            console.print("serving until Ctrl-C")
            server.wait()


def fresh_run(recipe: Recipe, folder: Path | None = None) -> Run:
    """Give the newest run of this very recipe and data, or train one.

    Args:
        recipe: What to train.
        folder: Holds the runs; ``runs/<name>`` unless told otherwise.
    """
    from marina.train.dataset import dataset_digest
    from marina.train.run import Run, timestamp
    from marina.train.sources import prepare
    from marina.train.training import train

    prepare(recipe.data)
    digest = dataset_digest(recipe.data)
    runs = folder or Path("runs", recipe.name)
    for metrics in sorted(runs.glob("*/metrics.json"), reverse=True):
        run = Run(metrics.parent)
        if run.recipe == recipe and run.metrics["dataset"]["sha256"] == digest:
            console.print(f"reusing {run.folder}: recipe and images are unchanged")
            return run
    return train(recipe, runs / timestamp(datetime.now(UTC)))


def packed(run: Run, version: str, store: ModelStore) -> Entry:
    """Give the store's archive of this run, made anew where it is not the same to the byte."""
    from marina import display
    from marina.export.torchscript import export, is_exported

    if is_exported(run):
        console.print(f"reusing {run.model}: parity was proved on this checkpoint")
    else:
        display.parity(export(run))
    before = store.entry(run.recipe.name, version)
    entry = archive(run, version, store, force=True)
    same = before is not None and before.sha256 == entry.sha256
    file = store.folder / entry.file
    console.print(f"{file} is unchanged" if same else f"archived {file}")
    return entry


@dataclass(frozen=True)
class Wire:
    """The answers over one protocol, in the order of the lab's images."""

    name: str
    outcomes: list[Outcome]

    def differences(self, rows: list[dict[str, object]]) -> list[str]:
        """Give a line for each image that was answered otherwise than in the lab."""
        return [
            f"{self.name} {row['file']}: {self._said(outcome)}, the lab {row['predicted']}"
            for row, outcome in zip(rows, self.outcomes, strict=True)
            if not self._same(row, outcome)
        ]

    def accuracy(self, rows: list[dict[str, object]]) -> float:
        """Give the share of images whose first class is the truth."""
        right = [
            bool(o.predictions) and o.predictions[0].label == row["truth"]
            for row, o in zip(rows, self.outcomes, strict=True)
        ]
        return sum(right) / len(right)

    @property
    def p50_ms(self) -> float:
        """Median latency, in milliseconds."""
        return statistics.median(outcome.latency_ms for outcome in self.outcomes)

    @staticmethod
    def _said(outcome: Outcome) -> str:
        return str(outcome.error) if outcome.error else outcome.predictions[0].label

    @staticmethod
    def _same(row: dict[str, object], outcome: Outcome) -> bool:
        if not outcome.predictions:
            return False
        first, probability = outcome.predictions[0], row["probability"]
        return (
            isinstance(probability, float)
            and first.label == row["predicted"]
            and abs(first.probability - probability) <= PROBABILITY_ATOL
        )


def _verify(lab: Evaluation, server: Server, entry: Entry) -> None:
    """Send every held-out image over both protocols and hold the answers against the lab's."""
    rows = lab.rows()
    files = list(lab.split.files)
    addresses = {"REST": server.rest_url, "gRPC": server.grpc_target}
    wires = [
        Wire(name, predict_each(files, url, entry.name, entry.version, grpc=name == "gRPC"))
        for name, url in addresses.items()
    ]
    _print_sample(rows, wires)
    for wire in wires:
        output.print(
            f"{wire.name}: accuracy over the wire {wire.accuracy(rows):.2%}, in the lab "
            f"{lab.accuracy:.2%}, on {len(rows)} held-out images; p50 {wire.p50_ms:.1f} ms"
        )
    differences = [line for wire in wires for line in wire.differences(rows)]
    if differences:
        raise ParityError(
            f"{len(differences)} answers over the wire are not the lab's, first: {differences[0]}"
        )
    output.print("[green]every answer over the wire is the lab's, image by image[/]")


def _print_sample(rows: list[dict[str, object]], wires: list[Wire]) -> None:
    """Show some images, the mistakes first."""
    order = sorted(range(len(rows)), key=lambda i: rows[i]["truth"] == rows[i]["predicted"])
    mistakes = [i for i in order if rows[i]["truth"] != rows[i]["predicted"]][: SHOWN // 2]
    step = max(1, len(rows) // (SHOWN - len(mistakes)))
    chosen = mistakes + [i for i in range(0, len(rows), step) if i not in mistakes]
    table = Table("file", "truth", *(c for w in wires for c in (w.name, "probability", "ms")))
    for index in chosen[:SHOWN]:
        cells = []
        for wire in wires:
            outcome = wire.outcomes[index]
            first = outcome.predictions[0] if outcome.predictions else None
            probability = f"{first.probability:.4f}" if first else ""
            cells += [first.label if first else "failed", probability, f"{outcome.latency_ms:.1f}"]
        table.add_row(str(rows[index]["file"]), str(rows[index]["truth"]), *cells)
    output.print(table)


def _print_next_steps(lab: Evaluation, server: Server, *, ends: bool) -> None:
    image, model = lab.split.files[0], server.models[0]
    again = "  marina serve --no-tokens     # the server of this demo ends now\n" if ends else ""
    output.print(
        f"\nGo on with:\n{again}"
        f"  curl -X POST -T {image} {server.rest_url}/predictions/{model.name}\n"
        f"  curl -X POST -T {image} -H 'X-Marina-Format: detailed' "
        f"{server.rest_url}/predictions/{model.name}/{model.version}\n"
        f"  marina predict {lab.split.root}/test --model {model.name} --url {server.rest_url}\n"
        f"  marina predict {image} --model {model.name} --grpc --url {server.grpc_target}\n"
        "  grpcurl -plaintext -import-path marina/client/proto -proto inference.proto \\\n"
        f'    -d \'{{"model_name": "{model.name}", "input": '
        f'{{"data": "\'$(base64 -w0 {image})\'"}}}}\' \\\n'
        f"    {server.grpc_target} "
        "org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions\n"
        "  torchserve --start --ncs --model-store model_store \\\n"
        f"    --models {model.name}={model.file.name} --ts-config config.properties\n",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
