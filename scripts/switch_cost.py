"""What a switch costs those who are served meanwhile: latency before it and while it goes on.

    python scripts/switch_cost.py                            # digits and ResNet-18, 4 switches each
    python scripts/switch_cost.py --models resnet18 --share 0.3 --json

Each model is archived twice, untrained, and served with the gateway. Capacity is what eight users
get in a closed loop. Then requests come at a share of it, each at its own time whether the ones
before are answered or not, and latency counts from that time. The versions are switched to and fro;
each switch has a stretch of load of its own. Baseline are the requests outside of all switches,
"calm" the slowest of them, for how much of the slowest is the machine's own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from marina.archive.archive import archive
from marina.archive.store import ModelStore
from marina.bench.generator import Drive, LoadGenerator
from marina.bench.images import find_images
from marina.bench.load import Load
from marina.client import ManagementClient
from marina.export.torchscript import export
from marina.recipe import read_recipe
from marina.serve import GatewayOptions, ServeConfig, resolve, running
from marina.serve.ports import free_ports
from marina.train.training import train

REPO = Path(__file__).parents[1]
RECIPES = {
    "digits": ("resnet.yaml", ("train.epochs=0",)),
    "resnet18": ("resnet18_imagenet.yaml", ("architecture.weights=null",)),
}
CAPACITY_USERS = 8
CAPACITY_S = 8.0
LEAD_S = 5.0  # of a stretch, before its switch


@dataclass(frozen=True)
class Cost:
    """What the switches of one model cost; latencies in ms, of requests that were answered."""

    model: str
    rate_per_s: float
    requests: int
    errors: int
    baseline_p99_ms: float
    calm_slowest_ms: float
    slowest_ms: list[float]
    switch_s: list[float]

    @property
    def ratio(self) -> float:
        """How many times the baseline's p99 the slowest request of any switch took."""
        return max(self.slowest_ms) / self.baseline_p99_ms


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--switches", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.5, help="of capacity")
    parser.add_argument("--stretch", type=float, default=30.0, help="seconds of load a switch")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    costs = []
    for model in given.models:
        costs.append(measure(model, given.switches, given.share, given.stretch))
        if not given.json:
            show(costs[-1])
    if given.json:
        json.dump([{**asdict(cost), "ratio": cost.ratio} for cost in costs], sys.stdout, indent=2)
    else:
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def show(cost: Cost) -> None:
    """Print what the switches of one model cost."""
    figures = {
        "requests/s": f"{cost.rate_per_s:.1f}",
        "requests": cost.requests,
        "errors": cost.errors,
        "p99 ms": f"{cost.baseline_p99_ms:.1f}",
        "calm ms": f"{cost.calm_slowest_ms:.1f}",
        "switch ms": f"{max(cost.slowest_ms):.1f}",
        "times p99": f"{cost.ratio:.1f}",
        "seconds": f"{np.median(cost.switch_s):.1f}",
    }
    print(f"{'model':10}", *(f"{word:>10}" for word in figures))
    print(f"{cost.model:10}", *(f"{figure:>10}" for figure in figures.values()))
    print("slowest of each switch, ms:", *(f"{ms:.0f}" for ms in cost.slowest_ms), flush=True)


def measure(model: str, switches: int, share: float, stretch_s: float) -> Cost:
    """Switch a model's versions to and fro under load."""
    with tempfile.TemporaryDirectory(prefix="marina-switch-") as name:
        folder = Path(name)
        store = folder / "store"
        served = prepare(model, folder)
        config = replace(ServeConfig.on_free_ports(store), gateway=GatewayOptions(free_ports(1)[0]))
        with (
            running(config, resolve([f"{served}-1.0.mar"], store), log_dir=folder / "logs"),
            ManagementClient(config.management_url) as manager,
            LoadGenerator() as generator,
        ):
            images = find_images(None, store / f"{served}-1.0.mar", folder).files
            closed = Load(config.rest_url, images, served, users=CAPACITY_USERS)
            drive = generator.drive(replace(closed, duration_s=CAPACITY_S, warmup_s=0))
            rate = share * drive.status.count(200) / (drive.ended_s - drive.started_s)
            load = replace(closed, users=1, rate=rate, duration_s=stretch_s, warmup_s=0)
            seen = [
                one_switch(generator, load, manager, "2.0" if number % 2 == 0 else "1.0")
                for number in range(switches)
            ]
    return cost_of(model, rate, seen)


def prepare(model: str, folder: Path) -> str:
    """Make a store with two versions; give the name that they are served by."""
    recipe, changes = RECIPES[model]
    root = f"data.root={folder / 'data'}"
    trained = train(read_recipe(REPO / "models" / recipe, (*changes, root)), folder / "run")
    export(trained)
    for version in ("1.0", "2.0"):
        archive(trained, version, ModelStore(folder / "store"))
    return str(trained.recipe.name)


def one_switch(
    generator: LoadGenerator, load: Load, manager: ManagementClient, version: str
) -> tuple[Drive, float, float]:
    """Switch to a version amid a stretch of load; give the answers, and when it began and ended."""
    drives: list[Drive] = []
    thread = threading.Thread(target=lambda: drives.append(generator.drive(load)))
    thread.start()
    time.sleep(LEAD_S)
    begun = time.time()
    manager.switch(load.model, version)
    ended = time.time()
    thread.join()
    if ended > drives[0].ended_s:
        raise SystemExit(f"the switch took {ended - begun:.0f} s: give it a longer --stretch")
    return drives[0], begun, ended


def cost_of(model: str, rate: float, seen: list[tuple[Drive, float, float]]) -> Cost:
    """Tell the requests that a switch may have hit from the others."""
    calm: list[float] = []
    slowest: list[float] = []
    for drive, begun, ended in seen:
        start_s, latency_ms = np.asarray(drive.start_s), np.asarray(drive.latency_ms)
        is_hit = (start_s + latency_ms / 1e3 >= begun) & (start_s <= ended)
        slowest.append(float(latency_ms[is_hit].max()))
        calm += latency_ms[~is_hit & (start_s >= drive.started_s + 1)].tolist()
    statuses = [status for drive, _, _ in seen for status in drive.status]
    return Cost(
        model=model,
        rate_per_s=rate,
        requests=len(statuses),
        errors=sum(status != 200 for status in statuses),
        baseline_p99_ms=float(np.percentile(calm, 99)),
        calm_slowest_ms=max(calm),
        slowest_ms=slowest,
        switch_s=[ended - begun for _, begun, ended in seen],
    )


if __name__ == "__main__":
    main()
