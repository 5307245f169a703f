"""The private folder of one running server: all that TorchServe reads, and all that it litters.

It is called ``marina-serve-<pid>-…``, lies in the system's temporary folder, and goes with the
server. One whose server was killed is swept away by the next start, with what still runs in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil

from handlers.background import Background
from marina.errors import ServeError
from marina.serve.config import ServeConfig, render
from marina.serve.keys import FILE as KEY_FILE
from marina.serve.log import render_log4j2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marina.serve.served import Served

PREFIX = "marina-serve-"

# What a Unix socket's path may have (unix(7)), less TorchServe's own "/.ts.sock.65535".
_LONGEST_FOLDER = 107 - 15

# TorchServe refuses ".." in an archive's name, and takes a comma for its end.
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]|\.(?=\.)")

_KILL_TIMEOUT_S = 5.0


class Workspace:
    """A private folder with room for TorchServe.

    Attributes:
        folder: The folder itself, and TorchServe's working directory.
        store: For the unpacked archives; TorchServe's model store.
        temporary: Where TorchServe links to archives and puts its workers' sockets.
        config: For ``config.properties``.
        log4j2: For ``log4j2.xml``.
        metrics: For ``metrics.yaml``.
        keys: Where TorchServe writes its tokens.
        parking: Where workers are told to hold a request, see `handlers.parking`, and tell each
            other that they compute, see `handlers.spread`.
        output: What Java itself writes to stdout and stderr.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = folder / "store"
        self.temporary = folder / "tmp"
        self.config = folder / "config.properties"
        self.log4j2 = folder / "log4j2.xml"
        self.metrics = folder / "metrics.yaml"
        self.output = folder / "java.out"
        self.keys = folder / KEY_FILE
        self.parking = folder / "parking"
        self._numbers = itertools.count()
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls) -> Workspace:
        """Make a new one.

        Raises:
            ServeError: The temporary folder's path is too long, or it cannot be written.
        """
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        except OSError as err:
            raise ServeError(
                f"cannot write to the temporary folder ({err}): free some space, or set TMPDIR"
            ) from err
        workspace = cls(folder)
        workspace._lock = _lock(folder)
        if len(os.fsencode(workspace.temporary)) > _LONGEST_FOLDER:
            workspace.remove()
            raise ServeError(
                f"the temporary folder {tempfile.gettempdir()} has too long a path for the "
                "workers' sockets: set TMPDIR to a shorter one, such as /tmp"
            )
        for each in (workspace.store, workspace.temporary, workspace.parking):
            each.mkdir()
        return workspace

    def furnish(self, config: ServeConfig, log_dir: Path) -> None:
        """Put everything into it that TorchServe reads, and nothing of an earlier run.

        Args:
            config: Where to listen.
            log_dir: Where to log.
        """
        for folder in (self.store, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.keys.unlink(missing_ok=True)
        shutil.copyfile(_metrics_file(), self.metrics)
        self.config.write_text(render(replace(config, model_store=self.store), self.metrics))
        self.log4j2.write_text(render_log4j2(log_dir), encoding="utf-8")

    def admit(self, model: Served) -> str:
        """Unpack a checked archive into the store.

        TorchServe would do it, too, but at the cost of those who are served meanwhile.

        Returns:
            Its folder's name there; no two are the same.

        Raises:
            ServeError: It cannot be read, or the disk is full.
        """
        name = _UNSAFE.sub("_", f"{next(self._numbers)}-{model.name}-{model.version}")
        try:
            with zipfile.ZipFile(model.file) as archive:
                Background().run(lambda: archive.extractall(self.store / name))
        except (OSError, zipfile.BadZipFile, zlib.error) as err:
            self.dismiss(name)
            raise ServeError(f"cannot unpack {model.file}: {err}") from err
        return name

    def dismiss(self, name: str) -> None:
        """Take an archive out of the store."""
        shutil.rmtree(self.store / name, ignore_errors=True)

    def unpacked(self) -> set[Path]:
        """List TorchServe's links to archives, and what it left of refused ones."""
        return set((self.temporary / "models").glob("*"))

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def sweep() -> None:
    """Remove the folders of servers that were killed, and end what still runs in them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not _is_abandoned(folder):
            continue
        strays = list(_processes_in(folder))
        for process in strays:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(strays, timeout=_KILL_TIMEOUT_S)
        shutil.rmtree(folder, ignore_errors=True)


def _metrics_file() -> Path:
    spec = find_spec("handlers")
    if spec is None or spec.origin is None:
        raise ServeError("the handlers package is not installed beside marina: run `uv sync`")
    return Path(spec.origin).with_name("metrics.yaml")


def _is_abandoned(folder: Path) -> bool:
    """Tell whether no server holds the folder any more.

    Its owner holds a lock until it ends, however it ends. The pid in the name keeps a folder safe
    that was made just now and is not locked yet.
    """
    pid = folder.name.removeprefix(PREFIX).partition("-")[0]
    try:
        if not pid.isdigit() or folder.stat().st_uid != os.getuid() or psutil.pid_exists(int(pid)):
            return False
        lock = _lock(folder)
    except FileNotFoundError:  # its owner, or another server that starts, has just removed it
        return False
    if lock is None:
        return False
    lock.close()
    return True


def _lock(folder: Path) -> IO[str] | None:
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _processes_in(folder: Path) -> Iterator[psutil.Process]:
    """Find the processes whose command line names the folder: Java and each of its workers do."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in argument for argument in process.cmdline()):
                yield process
