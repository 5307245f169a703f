"""TorchServe as the engine below: it is started empty, and models are loaded into it one by one."""

from __future__ import annotations

import contextlib
import shutil
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from handlers.background import send_back
from marina.errors import ServeError
from marina.serve.activity import Activity
from marina.serve.drain import QUIET_S, drain
from marina.serve.failure import FailureWatch
from marina.serve.java import find_java
from marina.serve.keys import KeyFile
from marina.serve.log import LOG_FILE, Line, LogFollower
from marina.serve.management import Management, Refused
from marina.serve.parking import scale_between_batches
from marina.serve.readiness import check_golden, wait_for_workers
from marina.serve.torchserve import TorchServe
from marina.serve.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from marina.serve.config import ServeConfig
    from marina.serve.served import Served
    from marina.serve.state import VersionState

    OnEvent = Callable[[str], None]

_POLL_S = 0.1
_STOP_TIMEOUT_S = 15.0
_LOG_DELAY_S = 0.3  # what a worker says, through Java and the file, to the follower


class Engine:
    """A TorchServe of our own, its private folder, and the eyes and hands on it.

    Args:
        config: Where Marina listens; TorchServe itself listens where `ServeConfig.torchserve` says.
        log_dir: Folder of its logs.
        on_line: Called with each line of TorchServe's log.
        on_event: Called with a line for each step.

    Attributes:
        config: Where TorchServe listens.
        activity: What its workers do.
        management: Its management API.
        keys: Its tokens; None if it wants none.
    """

    def __init__(
        self,
        config: ServeConfig,
        log_dir: Path,
        *,
        on_line: Sequence[Callable[[Line], None]],
        on_event: OnEvent,
    ) -> None:
        self.config = config.torchserve()
        self.activity = Activity()
        self.keys: KeyFile | None = None
        self.management = Management(self.config.management_url, self.config.grpc_management_target)
        self._public = config
        self._log_dir = log_dir
        self._on_line = on_line
        self._on_event = on_event
        self._cleanup = ExitStack()
        self._process: TorchServe | None = None
        self._follower: LogFollower[Line] | None = None
        self._workspace: Workspace | None = None
        self._files: dict[Served, str] = {}

    def start(self, check: Callable[[], None]) -> None:
        """Start TorchServe, and wait until its management answers.

        Args:
            check: Called again and again; raises what makes waiting vain.

        Raises:
            ServeError: It does not start.
        """
        java = find_java()
        if self._workspace is None:
            self._workspace = Workspace.create()
            self._cleanup.callback(self._workspace.remove)
            self._follower = self._follow()
        self._workspace.furnish(self.config, self._log_dir)
        if self.config.tokens:
            self.keys = KeyFile(self._workspace.keys, self.config.token_minutes * 60)
        self._connect()
        self._on_event(f"starting TorchServe on Java {java.version or java.home}")
        self._process = TorchServe(java, self._workspace, self._log_dir)
        self._process.start()
        self._wait_for_management(check)

    def restart(self, check: Callable[[], None]) -> None:
        """Put a new TorchServe in the place of one that died or hangs.

        Raises:
            ServeError: It does not start.
        """
        self.kill()
        self.activity.forget()
        self._files.clear()
        self.config = self._public.torchserve()
        self.start(check)

    def check(self) -> None:
        """Raise if TorchServe has ended.

        Raises:
            ServeError: It has.
        """
        if self._process is not None:
            self._process.check()

    @property
    def folder(self) -> Path:
        """The private folder, which is there from the first start to the end."""
        return self._room.folder

    @property
    def is_running(self) -> bool:
        """Whether TorchServe runs."""
        return self._process is not None and self._process.is_running

    def load(
        self,
        wanted: Sequence[tuple[Served, VersionState]],
        check: Callable[[], None],
        tell: OnEvent,
    ) -> None:
        """Register models, and wait until all their workers have loaded and answer rightly.

        Args:
            wanted: What to load, and how to run it.
            check: Called again and again; raises what makes waiting vain.
            tell: Called with each step.

        Raises:
            ServeError: One is refused, does not load or answers wrongly; ``details`` has the
                worker's own first traceback. What was registered stays so: see `unload`.
        """
        watch = FailureWatch(served for served, _ in wanted)
        self._listeners.tell(watch)

        def check_all() -> None:
            check()
            watch.check()
            self.check()

        try:
            for served, state in wanted:
                self._register(served, state)
            self.wait_for_workers({s: state.workers for s, state in wanted}, check_all, tell)
            self.check_golden([s for s, state in wanted if state.workers], check_all)
        except ServeError as err:
            time.sleep(_LOG_DELAY_S)
            raise ServeError(str(err), details=err.details or watch.traceback()) from err
        finally:
            self._listeners.dismiss(watch)

    def wait_for_workers(
        self, wanted: dict[Served, int], check: Callable[[], None], tell: OnEvent
    ) -> None:
        """Wait until models have as many workers as they shall have.

        Raises:
            ServeError: They do not come.
        """

        def progress(model: Served, ready: int, count: int) -> None:
            if ready:
                tell(f"{model}: {ready} of {count} workers loaded")

        timeout_s = self.config.start_timeout_s
        wait_for_workers(wanted, self.management, timeout_s, check, progress)

    def check_golden(self, models: Sequence[Served], check: Callable[[], None]) -> None:
        """Check that models answer their golden image rightly, over REST and gRPC.

        Raises:
            ServeError: One does not.
        """
        check_golden(models, self.config, check, self.token)

    def scale(self, served: Served, workers: int, *, force: bool = False) -> None:
        """Set the number of a version's workers; they start and stop afterwards.

        Those that are taken away end what they hold first. TorchServe counts a worker that it has
        given up as one that it has. It cannot be taken out without those that came after it, so it
        is made up for.

        Args:
            served: The version.
            workers: The number.
            force: Take workers away that do not end what they hold within the drain timeout.

        Raises:
            ServeError: TorchServe does not do it, or a worker does not end what it holds.
        """
        dead = self.activity.of(served.name, served.version).given_up if workers else 0
        timeout_s = self.config.drain_timeout_s
        is_safe = scale_between_batches(
            self.management,
            self._room.parking,
            served,
            workers + dead,
            timeout_s,
            lambda: self.drain([served.name], timeout_s, lambda: False, served.version),
            force=force,
        )
        if not is_safe:
            self._on_event(f"{served}: workers were taken away with the requests that they held")

    def unload(self, served: Served) -> None:
        """Unregister a version, and remove what TorchServe left of it."""
        for worker in self.management.ready_workers(served.name, served.version, after=0):
            send_back(worker)
        with contextlib.suppress(Refused):  # it is not there any more
            self.management.unregister(served.name, served.version)
        file = self._files.pop(served, None)
        if file is not None and self._workspace is not None:
            self._workspace.dismiss(file)

    def drain(
        self,
        names: Sequence[str],
        timeout_s: float,
        is_aborted: Callable[[], bool],
        version: str | None = None,
        quiet_s: float = QUIET_S,
    ) -> bool:
        """Wait until no request to models, or to one version, is in flight; see `drain`."""
        doing = self.activity if version is None else self.activity.of(names[0], version)
        return drain(
            names,
            self.management,
            doing,
            timeout_s,
            lambda: is_aborted() or not self.is_running,
            version=version,
            quiet_s=quiet_s,
        )

    @property
    def token(self) -> Path | None:
        """What a client shows to be answered: the file of the tokens, None if none is wanted."""
        return self.keys.path if self.keys else None

    def stop(self, is_forced: Callable[[], bool]) -> None:
        """Let TorchServe end, or make it end."""
        if self._process is not None:
            self._process.stop(_STOP_TIMEOUT_S, is_forced)

    def kill(self) -> None:
        """Kill TorchServe and all its workers."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End everything and remove the private folder."""
        self.kill()
        self.management.close()
        self._cleanup.close()

    @property
    def _room(self) -> Workspace:
        if self._workspace is None:
            raise ServeError("the server has not been started")
        return self._workspace

    @property
    def _listeners(self) -> LogFollower[Line]:
        if self._follower is None:
            raise ServeError("the server has not been started")
        return self._follower

    def _follow(self) -> LogFollower[Line]:
        follower = LogFollower(
            self._log_dir / LOG_FILE, Line.parse, [self.activity, *self._on_line]
        )
        follower.start()
        self._cleanup.callback(follower.stop)
        return follower

    def _connect(self) -> None:
        self.management.close()
        keys = self.keys
        token = (lambda: keys.read("management").token) if keys else (lambda: None)
        config = self.config
        self.management = Management(config.management_url, config.grpc_management_target, token)

    def _wait_for_management(self, check: Callable[[], None]) -> None:
        deadline = time.monotonic() + self.config.start_timeout_s
        while not self.management.answers:
            check()
            self.check()
            if time.monotonic() > deadline:
                raise ServeError(
                    f"TorchServe does not answer within {self.config.start_timeout_s:g} s"
                )
            time.sleep(_POLL_S)

    def _register(self, served: Served, state: VersionState) -> None:
        room = self._room
        before = room.unpacked()
        file = room.admit(served)
        try:
            self.management.register(file, served.name, state.batch_size, state.max_batch_delay_ms)
        except Refused as err:
            room.dismiss(file)
            for left in room.unpacked() - before:
                shutil.rmtree(left, ignore_errors=True)
            raise ServeError(f"TorchServe refuses {served}: {err}", details=err.details) from err
        self._files[served] = file
        for condition in self.management.conditions(served.name):
            if condition.version == served.version and condition.wanted != state.workers:
                self.scale(served, state.workers)
