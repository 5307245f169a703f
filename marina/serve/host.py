"""TorchServe as a process: its start and end, its private folder, its log, its management."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from marina.errors import ServeError
from marina.serve.activity import Activity
from marina.serve.java import find_java
from marina.serve.keys import KeyFile
from marina.serve.log import LOG_FILE, Line, LogFollower
from marina.serve.management import Management
from marina.serve.torchserve import TorchServe
from marina.serve.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from marina.serve.config import ServeConfig

    OnEvent = Callable[[str], None]

_POLL_S = 0.1
_STOP_TIMEOUT_S = 15.0


class Host:
    """A TorchServe of our own, empty, in a private folder.

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
