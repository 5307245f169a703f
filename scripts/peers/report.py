"""The table and the plot: what each server gave, and Marina's ratio to it with its interval."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from contestants import PRECISIONS, REQUIREMENTS, Contestant
from matplotlib.figure import Figure

from marina.bench import machine
from marina.bench.plots import save
from marina.bench.result import Result
from marina.files import write_whole

RESAMPLES = 2000
STRETCHES = 5
SIZES = {"photo-224": "224×224", "photo-640": "640×427", "photo-12mp": "4000×3000"}


@dataclass(frozen=True)
class Cell:
    """All rounds of one server with one size and load.

    Attributes:
        tables: By round, answers, seconds and CPU seconds of each stretch, (stretches, 3).
        p50_ms: Median over the rounds.
        made: How and of which commit they were measured, for people; one, unless that changed.
    """

    tables: dict[int, np.ndarray]
    p50_ms: float
    made: frozenset[str]

    @property
    def throughput(self) -> float:
        """Answers per second over all rounds."""
        answers, seconds, _ = np.concatenate(list(self.tables.values())).sum(axis=0)
        return float(answers / seconds)

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per answer over all rounds."""
        answers, _, cpu_s = np.concatenate(list(self.tables.values())).sum(axis=0)
        return float(cpu_s / answers * 1e3)


def write_report(
    everyone: Sequence[Contestant],
    sizes: Sequence[str],
    users: Sequence[int],
    failures: dict[str, str],
    work: Path,
    docs: Path,
) -> None:
    """Write ``benchmarks.md`` and ``benchmarks.png``."""
    cells = {
        (contestant.key, size, count): cell
        for contestant in everyone
        for size in sizes
        for count in users
        if (cell := read_cell(work / "cells" / contestant.key / f"{size}-{count}"))
    }
    parts = [_head(everyone, users, cells), "![ratios](benchmarks.png)\n"]
    measured = {(size, count) for _, size, count in cells}
    parts += [
        _table(everyone, size, count, cells)
        for size in sizes
        for count in users
        if (size, count) in measured
    ]
    if failures:
        titles = {contestant.key: contestant.title for contestant in everyone}
        lines = [f"- {titles[key]}: {why}" for key, why in failures.items()]
        parts.append("## Failed here\n\n" + "\n".join(lines) + "\n")
    parts.append(_configurations())
    write_whole(docs / "benchmarks.md", "\n".join(parts))
    _plot(everyone, sizes[0], max(users), cells, docs / "benchmarks.png")


def read_cell(folder: Path) -> Cell | None:
    """Read all rounds of a cell; None if there is none."""
    tables, medians, made = {}, [], set()
    for file in sorted(folder.glob("*/result.json")):
        result = Result.read(file)
        edges = np.linspace(*result.window, STRETCHES + 1)
        cpu = result.cpu_until(edges)
        if cpu is None:
            continue
        columns = [np.diff(result.answers_until(edges)), np.diff(edges), np.diff(cpu)]
        tables[int(file.parent.name)] = np.stack(columns, axis=1)  # (stretches, 3)
        medians.append(result.summary.latency_ms["p50"])
        load, commit = result.document["load"], result.document["environment"]["commit"]
        made.add(f"{load['duration_s']:g} s after {load['warmup_s']:g} s of load, commit {commit}")
    return Cell(tables, float(np.median(medians)), frozenset(made)) if tables else None


def ratio(ours: Cell, theirs: Cell, *, cpu: bool) -> tuple[float, float, float] | None:
    """Give how many times better ours is, with its 95% interval.

    Rounds that both were in are drawn as pairs, since the machine's speed drifts from round to
    round, then stretches within each.
    """
    rounds = sorted(ours.tables.keys() & theirs.tables.keys())
    if not rounds:
        return None
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = [rounds[i] for i in random.integers(len(rounds), size=len(rounds))]
        sums = [
            sum(_redraw(side.tables[number], random) for number in chosen)
            for side in (ours, theirs)
        ]
        drawn.append(_times_better(sums[0], sums[1], cpu=cpu))
    whole = [sum(side.tables[n].sum(axis=0) for n in rounds) for side in (ours, theirs)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return _times_better(whole[0], whole[1], cpu=cpu), float(low), float(high)


def _redraw(table: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rows: np.ndarray = table[random.integers(len(table), size=len(table))].sum(axis=0)
    return rows


def _times_better(ours: np.ndarray, theirs: np.ndarray, *, cpu: bool) -> float:
    if not ours[0] or not theirs[0]:
        return float("nan")
    if cpu:
        return float((theirs[2] / theirs[0]) / (ours[2] / ours[0]))
    return float((ours[0] / ours[1]) / (theirs[0] / theirs[1]))


def _head(everyone: Sequence[Contestant], users: Sequence[int], cells: dict) -> str:
    here = machine.describe()
    counts = sorted({len(cell.tables) for cell in cells.values()}) or [0]
    rounds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    made = sorted(set[str]().union(*(cell.made for cell in cells.values())))
    servers = {c.environment for c in everyone if c.environment}
    pins = "".join(f", {_pin(name)}" for name in sorted(servers))
    return (
        "# Marina and its peers\n\n"
        "ResNet-18 at 224 px with random weights, photographs as JPEG, closed loops of "
        f"{', '.join(map(str, users))} users. Made by `scripts/peers/run.py` in {rounds} rounds, "
        "each of all that are asked for in another order; ratios are of rounds that both were in, "
        "with 95% bootstrap intervals. CPU ms is the CPU time of all of a server's processes per "
        "answer; it hardly depends on what else the machine does, throughput does.\n\n"
        f"Machine: {here['cpu']}, {here['usable_cores']} cores, {', '.join(here['flags'])}, "
        f"{here['memory_gb']} GB, {here['system']}. Python {platform.python_version()}, torch "
        f"{here['torch']}, TorchServe {version('torchserve')}{pins}. "
        f"Each measurement: {'; '.join(made)}.\n"
    )


def _pin(environment: str) -> str:
    package = {"rayserve": "ray", "triton": "nvidia-pytriton"}.get(environment, environment)
    lines = (REQUIREMENTS / f"{environment}.txt").read_text().splitlines()
    pinned = next((line for line in lines if line.partition("[")[0].startswith(f"{package}")), "")
    return pinned.replace("==", " ")


def _table(everyone: Sequence[Contestant], size: str, users: int, cells: dict) -> str:
    heads = ["/s", "p50 ms", "CPU ms"]
    heads += [f"{p}: ×/s" for p in PRECISIONS] + [f"{p}: ×CPU" for p in PRECISIONS]
    lines = [
        f"## {SIZES[size]}, {users} user{'s' * (users > 1)}\n",
        f"| server | pipeline | {' | '.join(heads)} |",
        "| --- | --- |" + " ---: |" * len(heads),
    ]
    for contestant in everyone:
        cell = cells.get((contestant.key, size, users))
        if cell is None:
            continue
        columns = [f"{figure:.1f}" for figure in (cell.throughput, cell.p50_ms, cell.cpu_ms)]
        for cpu in (False, True):
            columns += [_ratio_text(p, contestant, size, users, cells, cpu) for p in PRECISIONS]
        lines.append(f"| {contestant.name} | {contestant.pipeline} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def _ratio_text(
    precision: str, contestant: Contestant, size: str, users: int, cells: dict, cpu: bool
) -> str:
    ours = cells.get((f"marina-{precision}", size, users))
    theirs = cells.get((contestant.key, size, users))
    found = ratio(ours, theirs, cpu=cpu) if ours and theirs and ours is not theirs else None
    return "–" if found is None else f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"


def _configurations() -> str:
    return (
        "## How each is set up\n\n"
        "Every peer has an environment of its own (`scripts/peers/requirements`), one process per "
        "core with its part of the threads, and batches of up to 8 that wait for at most 5 ms "
        "where it can batch, as its documentation says (`scripts/peers/servers`). `natural` is "
        "Pillow, torchvision's transforms and the TorchScript file; `ours` is the handler of our "
        "archive in fp32, `ours-bf16` and `ours-int8` in theirs. Marina decodes fast, inside of "
        "the peers too (`--decode`), but for `fp32-exact`. TorchServe is stock: `default` is its "
        "image_classifier and its own settings, `tuned` a worker per core with one thread each "
        "and batches of 4. Triton's tensors go through sockets, not shared memory: see "
        "`servers/triton_server.py`.\n"
    )


def _plot(everyone: Sequence[Contestant], size: str, users: int, cells: dict, file: Path) -> None:
    figure = Figure(figsize=(10, 0.32 * len(everyone) + 1.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    shown = [c for c in everyone if (c.key, size, users) in cells]
    names = [contestant.title for contestant in shown]
    for side, (title, cpu) in zip(
        axes, ((f"answers/s at {users} users", False), ("CPU ms per answer", True)), strict=True
    ):
        own = [cells[(contestant.key, size, users)] for contestant in shown]
        values = [cell.cpu_ms if cpu else cell.throughput for cell in own]
        colors = ["tab:orange" if c.name == "Marina" else "tab:blue" for c in shown]
        bars = side.barh(names, values, color=colors)
        side.bar_label(bars, fmt="%.1f", padding=2, fontsize="small")
        side.margins(x=0.15, y=0.01)  # room for the figures
        side.set_title(title, fontsize="medium")
    axes[0].invert_yaxis()
    figure.suptitle(f"ResNet-18, {SIZES[size]} JPEG")
    save(figure, file)
