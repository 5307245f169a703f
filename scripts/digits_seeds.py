"""Compare the digits recipe over several seeds with scikit-learn's classical classifiers.

    python scripts/digits_seeds.py --seeds 5

Each seed splits the digits anew, stratified, and trains anew. The classical ones learn from the
same training images' 64 pixels, each at the settings that stand below, which nothing searches for.
The best of them by validation accuracy over all seeds is the one to compare with; each is refitted
on training and validation images, and tested on the same test images. The network does not learn
from the validation images: they choose its epoch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from marina.recipe import Recipe, SplitName, read_recipe
from marina.train.dataset import read_split
from marina.train.training import train

RECIPE = Path("models/resnet.yaml")
CLASSICAL: dict[str, Any] = {
    "SVM, radial kernel": SVC(C=10, gamma=0.001),
    "k nearest neighbours": KNeighborsClassifier(3),
    "extra trees": ExtraTreesClassifier(500, random_state=0),
    "gradient boosting": HistGradientBoostingClassifier(random_state=0),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}


def main() -> None:
    """Train and fit everything, and print a JSON table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="K=V")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            keys = (f"data.root={folder}/{seed}", f"data.seed={seed}", f"train.seed={seed}")
            recipe = read_recipe(RECIPE, (*keys, "train.tensorboard=false", *options.set))
            rows.append(_one_seed(recipe, Path(folder) / f"run{seed}"))
            print(json.dumps(rows[-1]), flush=True)
    best = max(CLASSICAL, key=lambda name: statistics.mean(row["val"][name] for row in rows))
    network, classical = [row["marina"] for row in rows], [row["test"][best] for row in rows]
    print(json.dumps({"marina": _spread(network), best: _spread(classical)}, indent=2))


def _one_seed(recipe: Recipe, folder: Path) -> dict[str, Any]:
    run = train(recipe, folder)
    (x, y), (x_val, y_val), (x_test, y_test) = (
        _pixels(recipe, name) for name in ("train", "val", "test")
    )
    val = {name: model.fit(x, y).score(x_val, y_val) for name, model in CLASSICAL.items()}
    x, y = np.concatenate([x, x_val]), np.concatenate([y, y_val])
    test = {name: model.fit(x, y).score(x_test, y_test) for name, model in CLASSICAL.items()}
    return {"marina": run.metrics["test"]["accuracy"], "val": val, "test": test}


def _pixels(recipe: Recipe, name: SplitName) -> tuple[np.ndarray, np.ndarray]:
    """Give pixels in [0, 16] as scikit-learn has them, (images, 64), and targets (images,)."""
    split = read_split(recipe.data, name)
    images = []
    for file in split.files:
        with Image.open(file) as image:
            images.append(np.asarray(image, dtype=float).ravel() * (16 / 255))
    return np.stack(images), np.array(split.targets)


def _spread(accuracies: list[float]) -> dict[str, float]:
    return {
        "mean": statistics.mean(accuracies),
        "standard deviation": statistics.stdev(accuracies),
        "lowest": min(accuracies),
        "highest": max(accuracies),
    }


if __name__ == "__main__":
    main()
