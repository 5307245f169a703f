"""Marina as it is installed elsewhere: built from a copy of its sources, into a fresh folder."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest
from serve.archives import make_archive
from tiny import tiny_archive

from marina.archive.store import ModelStore

REPO = Path(__file__).parents[2]
DOCKERFILE = REPO / "docker" / "Dockerfile"
UV = Path(sys.executable).with_name("uv")


def build_wheel(sources: Path, target: Path) -> Path:
    """Build Marina's wheel as `uv build` does, with the build backend that is installed here."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=sources, check=True, capture_output=True)
    (wheel,) = target.glob("marina-*.whl")
    return wheel


def make_environment(folder: Path) -> Path:
    """Make a virtual environment that finds what Marina needs where it is here, but no Marina.

    Torch and its like are gigabytes: they are not installed once more.
    """
    subprocess.run(
        [UV, "venv", "--quiet", "--offline", "--python", sys.executable, folder], check=True
    )
    add_heavy_packages(folder)
    return folder / "bin" / "python"


def add_heavy_packages(environment: Path) -> None:
    """Let an environment find the packages that are installed here."""
    packages = environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (packages / "heavy.pth").write_text("\n".join(site.getsitepackages()) + "\n")


def copy_sources(names: list[str], folder: Path) -> None:
    """Copy files and folders of the repository, without what Python left in them."""
    for name in names:
        source, target = REPO / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with Marina's own handlers as ``resnet``, and the tests' own as ``stub``."""
    folder = tmp_path_factory.mktemp("store")
    made = folder.with_name("made")
    made.mkdir()
    store = ModelStore(folder)
    store.add(
        tiny_archive(made, "resnet", explanations=False), "resnet", "1.0", "resnet/run", force=False
    )
    store.add(
        make_archive(made, minWorkers=2, maxWorkers=2), "stub", "1.0", "stub/run", force=False
    )
    return folder
