"""Train a recipe with several processes, under torchrun.

    torchrun --nproc-per-node 2 --max-restarts 3 scripts/train.py models/resnet.yaml

The processes share each step's batch: train.batch_size is that of all of them together. On GPUs
each takes one and they talk over NCCL, on CPUs over gloo. If one dies, torchrun starts all of them
again, and the training goes on from its last checkpoint. The run goes to runs/<name>/<moment>, the
moment being torchrun's own start, which a restart does not change.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

from marina.errors import MarinaError
from marina.recipe import Recipe, read_recipe
from marina.train.run import timestamp
from marina.train.training import train


def main() -> int:
    """Train; the exit code is that of `marina train`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="such as models/resnet.yaml")
    parser.add_argument("--run-dir", type=Path, help="default: runs/<name>/<moment>")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    parser.add_argument(
        "--set", action="append", default=[], metavar="K=V", help="override a key: train.epochs=3"
    )
    options = parser.parse_args()
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        parser.error("start it as: torchrun --nproc-per-node 2 scripts/train.py RECIPE")
    restarted = int(os.environ["TORCHELASTIC_RESTART_COUNT"]) > 0
    try:
        recipe = read_recipe(options.recipe, tuple(options.set))
        folder = options.run_dir or _default_folder(recipe)
        run = train(recipe, folder, resume=options.resume or restarted)
    except MarinaError as err:
        print(f"error: {err}", file=sys.stderr)
        return err.exit_code
    if os.environ["RANK"] == "0":
        print(run.folder)
    return 0


def _default_folder(recipe: Recipe) -> Path:
    """Name the run for the start of torchrun, this process's parent. Only rank 0's counts."""
    started = psutil.Process(os.getppid()).create_time()
    return Path("runs") / recipe.name / timestamp(datetime.fromtimestamp(started, UTC))


if __name__ == "__main__":
    sys.exit(main())
