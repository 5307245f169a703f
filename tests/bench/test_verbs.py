"""The verbs on a real TorchServe with a real archive."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serve.conftest import free_config
from typer.testing import CliRunner

import marina.cli
from marina.archive.archive import archive
from marina.archive.store import ModelStore
from marina.bench.result import Result
from marina.bench.search import Point
from marina.bench.settings import Setting
from marina.bench.sweep import Swept
from marina.cli.app import app
from marina.errors import BenchError, LimitMissed, MarinaError
from marina.recipe import read_recipe
from marina.serve import Server, resolve, running
from marina.train.run import Run

from .conftest import made_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def store(untrained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    archive(untrained, "1.0", ModelStore(folder))
    return folder


@pytest.fixture(scope="module")
def served(store: Path) -> Iterator[Server]:
    with running(free_config(store), resolve([], store), log_dir=store / "logs") as server:
        yield server


def marina(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from marina.cli import main; main()", "bench", *words]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def test_limit_run_compare_and_profile(served: Server, store: Path, tmp_path: Path) -> None:
    words = ["limit", str(store / "tiny-1.0.mar"), "--seconds", "0.5", "--batch-size", "4"]
    done = marina(tmp_path, *words, "--json")
    assert done.returncode == 0, done.stderr
    limit = json.loads(done.stdout)
    assert limit["throughput"] == max(way["throughput"] for way in limit["ways"])
    assert {way["batch_size"] for way in limit["ways"]} == {4}

    where = ["--log-dir", str(served.log_dir), "--duration", "2", "--warmup", "0.5", "--users", "2"]
    where += ["--model", "tiny"]
    rest = ["--url", served.rest_url, *where]
    done = marina(tmp_path, "run", *rest, "--slo", "p99=60s,errors=0", "--out", "a", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["summary"]["errors"] == 0
    assert said["summary"]["cpu_ms"] > 0
    assert said["limit"]["throughput"] == limit["throughput"]
    assert said["target"]["recipe"]["name"] == "tiny"
    assert {file.name for file in (tmp_path / "a").iterdir()} == {
        "result.json",
        "report.html",
        "latency_over_time.png",
        "latency_distribution.png",
        "throughput.png",
    }
    assert "share of the limit" in (tmp_path / "a" / "report.html").read_text()

    grpc = ["--url", served.grpc_target, "--protocol", "grpc", *where]
    done = marina(tmp_path, "run", *grpc, "--slo", "p99=1us", "--out", "b")
    assert done.returncode == 21
    assert "p99 ≤ 0.001ms" in done.stdout
    assert "a limit was missed" in done.stderr

    done = marina(tmp_path, "compare", "a", "b", "--fail-if", "p50<-99.9%")
    assert done.returncode == 0, done.stderr
    assert "protocol is rest and grpc" in done.stderr

    done = marina(tmp_path, "profile", *rest, "--plot", "bar.png", "--json")
    assert done.returncode == 0, done.stderr
    stages = {stage["name"]: stage["ms"] for stage in json.loads(done.stdout)["stages"]}
    assert stages["inference"] > 0
    assert list(stages)[:2] == ["frontend", "queue"]
    assert (tmp_path / "bar.png").stat().st_size > 1000


def test_a_limit_on_what_was_not_measured_loses_no_measurement(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("marina.bench.measurement.server_roots", lambda _: [])
    words = ["bench", "run", "--url", served.rest_url, "--model", "tiny", "--out", "a"]
    words += ["--duration", "1", "--warmup", "0", "--log-dir", str(served.log_dir)]
    done = CliRunner().invoke(app, [*words, "--slo", "cpu=40ms"])
    assert isinstance(done.exception, BenchError)
    assert "measure on the server's machine" in str(done.exception)
    assert Result.read(tmp_path / "a").summary.errors == 0


def test_an_unknown_model_is_named(served: Server, tmp_path: Path) -> None:
    done = marina(tmp_path, "run", "--url", served.rest_url, "--model", "nobody")
    assert done.returncode == 8
    assert "nobody" in done.stderr
    assert not (tmp_path / "bench").exists()


def test_sweep_writes_the_best_into_the_recipe(untrained: Run, tmp_path: Path) -> None:
    """Its time is up after the recipe's own setting."""
    run = tmp_path / "run"
    shutil.copytree(untrained.folder, run)
    recipe = tmp_path / "recipe.yaml"
    shutil.copyfile(run / "recipe.yaml", recipe)
    words = ["sweep", str(run), "--recipe", str(recipe), "--workers", "1", "--users", "2"]
    words += ["--seconds", "1", "--minutes", "0.01", "--out", "swept", "--precision", "fp32"]
    done = marina(tmp_path, *words, "--for", "p99=60s")
    assert done.returncode == 0, done.stderr
    assert "this is the fastest of them" in done.stdout
    assert "was up before all were tried" in done.stderr
    swept = json.loads((tmp_path / "swept" / "sweep.json").read_text())
    assert swept["best"]["batch_size"] == read_recipe(recipe).serve.batch_size
    assert (tmp_path / "swept" / "pareto.png").stat().st_size > 1000


def test_a_sweep_says_that_no_setting_keeps_the_limits(
    untrained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Setting.of(untrained.recipe)
    point = Point(own, made_up([10.0] * 100).summary, is_allowed=False)
    monkeypatch.setattr("marina.bench.sweep.sweep", lambda *_: Swept(own, [point], "p99=1us"))
    words = ["bench", "sweep", str(untrained.folder), "--for", "p99=1us"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert isinstance(done.exception, LimitMissed)
    assert done.exception.exit_code == 21
    assert "none of 1 settings keeps p99=1us" in str(done.exception)


def test_a_sweep_that_cannot_begin_says_why(
    untrained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["bench", "sweep", str(untrained.folder)]
    for more, message in (
        (["--recipe", "none.yaml"], "no recipe at none.yaml"),
        (["--images", "nowhere"], "no images in nowhere"),
    ):
        done = CliRunner().invoke(app, [*words, *more])
        assert isinstance(done.exception, MarinaError)
        assert message in str(done.exception)
    assert CliRunner().invoke(app, [*words, "--workers", "0"]).exit_code == 2

    def refuse(*_: object) -> None:
        raise BenchError("the disk is full")

    monkeypatch.setattr("marina.bench.settings.Workshop.archive", refuse)
    done = CliRunner().invoke(app, [*words, "--workers", "1", "--precision", "fp32"])
    assert "no setting could be measured: " in str(done.exception)
    assert "the disk is full" in str(done.exception)
