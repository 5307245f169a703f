"""TorchServe as the engine below: models are loaded into it one by one."""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import TYPE_CHECKING

from handlers.background import send_back
from marina.errors import ServeError
from marina.serve.drain import QUIET_S, drain
from marina.serve.failure import FailureWatch
from marina.serve.host import Host
from marina.serve.management import Refused
from marina.serve.parking import scale_between_batches
from marina.serve.readiness import check_golden, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from marina.serve.config import ServeConfig
    from marina.serve.log import Line
    from marina.serve.served import Served
    from marina.serve.state import VersionState

    OnEvent = Callable[[str], None]

_LOG_DELAY_S = 0.3  # what a worker says, through Java and the file, to the follower


class Engine(Host):
    """A TorchServe with models in it: they are loaded, scaled, watched and unloaded one by one."""

    def __init__(
        self,
        config: ServeConfig,
        log_dir: Path,
        *,
        on_line: Sequence[Callable[[Line], None]],
        on_event: OnEvent,
    ) -> None:
        super().__init__(config, log_dir, on_line=on_line, on_event=on_event)
        self._files: dict[Served, str] = {}

    def restart(self, check: Callable[[], None]) -> None:
        """Put a new TorchServe in the place of one that died or hangs; it is empty.

        Raises:
            ServeError: It does not start.
        """
        self._files.clear()
        super().restart(check)

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
