"""The settings that a sweep tries, an archive of each, and the recipe that gets the best one."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.backend import FILES
from handlers.cores import usable_cores
from marina.archive.archive import archive
from marina.archive.store import ModelStore
from marina.errors import RecipeError
from marina.export.torchscript import export, is_exported
from marina.files import write_whole
from marina.recipe import Recipe, read_recipe
from marina.train.run import Run

if TYPE_CHECKING:
    from handlers.backend import Backend
    from handlers.precision import Precision

_MADE_BY_EXPORT = {"recipe.yaml", *FILES.values(), "parity.json", "golden"}
_VERSION = "0-sweep"


@dataclass(frozen=True)
class Setting:
    """What a sweep varies, by its names in the recipe's ``serve:``.

    Attributes:
        workers: Processes.
        threads: Of each; None shares the cores out among them.
        batch_size: Most requests in one batch.
        max_batch_delay_ms: How long a batch may wait to fill.
        precision: Of the exported model.
        backend: Which library computes it.
    """

    workers: int
    threads: int | None
    batch_size: int
    max_batch_delay_ms: int
    precision: Precision
    backend: Backend = "torchscript"

    @classmethod
    def of(cls, recipe: Recipe) -> Setting:
        """Give a recipe's own."""
        serve = recipe.serve
        return cls(
            serve.workers or usable_cores(),
            serve.threads,
            serve.batch_size,
            serve.max_batch_delay_ms,
            serve.precision,
            serve.backend,
        )

    def __str__(self) -> str:
        threads = self.threads or max(1, usable_cores() // self.workers)
        return (
            f"{self.workers} workers of {threads} threads, batch {self.batch_size}, "
            f"delay {self.max_batch_delay_ms} ms, {self.precision} by {self.backend}"
        )


class Workshop:
    """Makes archives of one run with changed settings, leaving the run as it is.

    Args:
        run: A finished run.
        folder: An empty folder to work in.
    """

    def __init__(self, run: Run, folder: Path):
        self._run = run
        self._folder = folder
        self._store = ModelStore(folder / "store")

    def archive(self, setting: Setting) -> Path:
        """Make the archive of a setting; each precision is exported once per backend.

        Raises:
            ParityError: The precision costs more accuracy than the recipe allows.
            ExportError: The network cannot be had in that precision.
        """
        run = self._copy(setting)
        if not is_exported(run):
            export(run)
        entry = archive(run, _VERSION, self._store, force=True)
        return self._store.folder / entry.file

    def _copy(self, setting: Setting) -> Run:
        folder = self._folder / "runs" / f"{setting.backend}-{setting.precision}"
        serve = self._run.recipe.serve
        is_own = (setting.precision, setting.backend) == (serve.precision, serve.backend)
        is_ready = is_own and is_exported(self._run)
        if not folder.exists():
            folder.mkdir(parents=True)
            for item in self._run.folder.iterdir():
                if is_ready or item.name not in _MADE_BY_EXPORT:
                    (folder / item.name).symlink_to(item.resolve())
        recipe = folder / "recipe.yaml"
        recipe.unlink(missing_ok=True)
        write_whole(recipe, changed(self._run.recipe, setting).as_yaml())
        return Run(folder)


def changed(recipe: Recipe, setting: Setting) -> Recipe:
    """Give a recipe with a setting in place of its own."""
    serve = recipe.serve.model_copy(update=asdict(setting))
    return recipe.model_copy(update={"serve": serve})


def write_setting(file: Path, setting: Setting) -> None:
    """Write a setting into a recipe's file; its other lines and its comments stay.

    Raises:
        RecipeError: The file is not laid out as lines below ``serve:``; nothing is changed.
    """
    before = read_recipe(file)
    lines = file.read_text().splitlines()
    if not any(line.startswith("serve:") for line in lines):
        lines += ["", "serve:"]
    for key, value in asdict(setting).items():
        lines = _with_value(lines, key, value)
    draft = file.with_name(f".{file.name}.draft")
    try:
        write_whole(draft, "\n".join(lines) + "\n")
        is_right = read_recipe(draft) == changed(before, setting)
        if is_right:
            draft.replace(file)
    except RecipeError:
        is_right = False
    finally:
        draft.unlink(missing_ok=True)
    if not is_right:
        wanted = ", ".join(f"{key}: {value}" for key, value in asdict(setting).items())
        raise RecipeError(f"cannot edit the section serve of {file}: put there yourself {wanted}")


def _with_value(lines: list[str], key: str, value: int | str | None) -> list[str]:
    """Give lines with a key of ``serve:`` set, in its place or at the section's beginning."""
    begin = next((i for i, line in enumerate(lines) if _is_section(line)), None)
    if begin is None:
        return lines
    for index in range(begin + 1, len(lines)):
        line = lines[index]
        if line and not line[0].isspace() and not line.startswith("#"):
            break  # the next section
        match = re.match(rf"(\s+{key}:\s*)([^#]*?)(\s*(#.*)?)$", line)
        if match:
            text = "null" if value is None else value
            return [*lines[:index], f"{match[1]}{text}{match[3]}", *lines[index + 1 :]]
    if value is None:  # as it is without the key
        return lines
    return [*lines[: begin + 1], f"  {key}: {value}", *lines[begin + 1 :]]


def _is_section(line: str) -> bool:
    return re.match(r"serve:\s*(#.*)?$", line) is not None
