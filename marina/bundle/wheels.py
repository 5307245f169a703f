"""The wheels of Marina and of all that it needs, as the lock has them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distribution, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from marina.errors import BundleError
from marina.files import sha256_file


def download_wheels(checkout: Path, target: Path) -> None:
    """Fetch the wheels that the lock names, held against its digests, and build Marina's own.

    Args:
        checkout: Marina's sources, with ``uv.lock``.
        target: Where the wheels go.

    Raises:
        BundleError: The sources are not there, or a step failed.
    """
    if not (checkout / "uv.lock").is_file():
        raise BundleError(
            f"no uv.lock in {checkout}: run this in a checkout of Marina, or give --wheels FOLDER"
        )
    target.mkdir(parents=True, exist_ok=True)
    locked = target / "locked.txt"
    export = ["export", "--quiet", "--locked", "--no-default-groups", "--no-emit-project"]
    _run([*export, "--output-file", str(locked.resolve())], checkout)
    tool = ["tool", "run", "--quiet", "--python", sys.executable, "pip", "download"]
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    wanted = ["-r", str(locked.resolve()), "-d", str(target.resolve())]
    _run([*tool, *options, *wanted], checkout)
    locked.unlink()
    _run(["build", "--quiet", "--wheel", "--out-dir", str(target.resolve())], checkout)
    (target / ".gitignore").unlink(missing_ok=True)


def requirements(wheels: Path) -> str:
    """Give what pip installs of a folder of wheels: each by version and digest.

    Raises:
        BundleError: There is none of Marina itself, or two of one package.
    """
    lines: dict[str, str] = {}
    for file in sorted(wheels.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(file.name)
        if name in lines:
            raise BundleError(f"two wheels of {name} in {wheels}: leave one")
        lines[name] = f"{name}=={version} --hash=sha256:{sha256_file(file)}\n"
    if "marina" not in lines:
        raise BundleError(f"no wheel of marina in {wheels}: `uv build --wheel -o {wheels}`")
    return "".join(lines.values())


def missing(wheels: Path) -> list[str]:
    """List the packages that Marina needs on a machine like this one, and that have no wheel."""
    there = {parse_wheel_filename(file.name)[0] for file in wheels.glob("*.whl")}
    needed: set[str] = set()
    found = {"marina"}
    while found:
        name = found.pop()
        needed.add(name)
        for line in requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                found |= {canonicalize_name(requirement.name)} - needed
    return sorted(needed - there)


def marina_version() -> str:
    """Give the version of the Marina that runs."""
    return distribution("marina").version


def _run(words: list[str], folder: Path) -> None:
    """Run uv: the one beside this Python, where `make install` puts it, or the one on the PATH."""
    beside = Path(sys.executable).with_name("uv")
    command = [str(beside) if beside.exists() else "uv", *words]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as err:
        raise BundleError("no program uv: install uv, or give --wheels FOLDER") from err
    except subprocess.CalledProcessError as err:
        last = re.sub(r"\s+", " ", err.stderr.strip()[-500:])
        raise BundleError(f"uv {' '.join(words[:2])} failed: {last}") from err
