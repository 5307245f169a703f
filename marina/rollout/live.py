"""A rollout on a running server: reads its access log, sets its split, and switches at the end.

All that must not be lost stands in the rollout's log before it takes effect, so this process may
be killed at any moment; the next one reads what was counted again, for its joins, and goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from marina.errors import ClientError, Conflict, ModelNotFound, RolloutError
from marina.gateway.access_log import FILE as ACCESS_FILE
from marina.rollout.access import answer_of
from marina.rollout.collector import Collector
from marina.rollout.commands import inbox_of, log_of
from marina.rollout.decision import Action, Phase
from marina.rollout.gallery import Gallery
from marina.rollout.journal import Journal
from marina.rollout.recorded import RecordedRollout, replay
from marina.rollout.stream import LogStream, Place
from marina.serve.feedback import FILE as FEEDBACK_FILE

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from marina.client.management import ManagementClient
    from marina.rollout.spec import RolloutSpec

_PERIOD_S = 1.0
# A version's worker may just be coming back; a candidate that stays away is rolled back.
_PATIENCE_S = 4.0
_MOST_SHOWN = 200  # disagreements kept for the report


class LiveRollout:
    """Drives a rollout until it ends.

    Args:
        spec: What was asked for. A rollout of the model that is under way must be the same.
        log_dir: The server's folder of logs.
        manager: Of the server.
        tell: Called with a line for each thing that happens.
        skip_lost: Go on at the end of a log that lost what was not read yet.

    Raises:
        RolloutError: There is no access log, or it lost what was not read yet; another process
            drives the model's rollout, or it is another one.
        ClientError: A version is not served.
    """

    def __init__(
        self,
        spec: RolloutSpec,
        log_dir: Path,
        manager: ManagementClient,
        tell: Callable[[str], None],
        *,
        skip_lost: bool = False,
    ):
        if not (log_dir / ACCESS_FILE).exists():
            raise RolloutError(
                f"no access log at {log_dir / ACCESS_FILE}: start `marina serve` with its gateway, "
                "or name its folder with --log-dir"
            )
        self._spec, self._manager, self._tell = spec, manager, tell
        self._access = LogStream(log_dir / ACCESS_FILE)
        self._feedback = LogStream(log_dir / FEEDBACK_FILE)
        self._collector = Collector()
        self._gallery = Gallery(log_dir, log_of(log_dir, spec.model).parent)
        self._refused_since: float | None = None
        self._told = ""
        self._recorded = RecordedRollout(log_of(log_dir, spec.model), spec, time.time())
        self.rollout = self._recorded.rollout
        try:
            self._take_up(skip_lost)
        except BaseException:
            self._recorded.close()
            raise

    def run(self, each_turn: Callable[[], None] = lambda: None) -> Phase:
        """Drive it to its end.

        Args:
            each_turn: Called once a second; raises what makes going on vain.

        Raises:
            ClientError: The first split was refused: nothing was changed.
            RolloutError: The access log lost what was not read yet.
        """
        while not self.is_done:
            began = time.monotonic()
            each_turn()
            self.step()
            if not self.is_done:
                time.sleep(max(0.0, _PERIOD_S - (time.monotonic() - began)))
        return self.rollout.phase

    @property
    def is_done(self) -> bool:
        """Whether it ended, and the server does as was decided."""
        return self.rollout.over and not self.rollout.pending

    def step(self) -> None:
        """Do what is to be done once a second."""
        if self.rollout.pending:
            self._apply()
        self._observe()
        self._recorded.obey(time.time())
        decision = self._recorded.decide(time.time())
        if decision.action is not Action.HOLD:
            self._tell(f"{decision.action}: {decision.reason}")
        if self.rollout.over and self.rollout.pending:
            self._apply()  # a rollback does not wait for the next turn

    def close(self) -> None:
        """Let another process go on."""
        self._recorded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # what was answered

    def _take_up(self, skip_lost: bool) -> None:
        """Go to the logs' ends if it begins; if it goes on, take up the joins again."""
        cursors = [e["cursor"] for e in self._recorded.events if e["event"] == "observed"]
        if not cursors:
            self._record(self._access.end(), self._feedback.end())
            return
        (access, feedback), (began, began_feedback) = map(_places, (cursors[-1], cursors[0]))
        if skip_lost and not self._access.has(access):
            self._tell(f"{ACCESS_FILE}: what was not read is lost; going on at its end")
            self._record(self._access.end(), feedback)
            return
        if not began.file or not self._access.has(began):
            began = self._access.start()
        self._take(self._access.read(began, until=access)[0])
        self._take_labels(self._feedback.read(began_feedback, until=feedback)[0])
        self._collector.take()  # counted before the restart
        self._collector.take_disagreements()
        self._tell(f"going on: {self.rollout.phase}, step {self.rollout.step + 1}")

    def _observe(self) -> None:
        access, feedback = _places(self.rollout.cursor)
        lines, access = self._access.read(access)
        labels, feedback = self._feedback.read(feedback)
        if not lines and not labels:
            return
        self._take(lines)
        self._take_labels(labels)
        self._record(access, feedback)
        room = _MOST_SHOWN - sum(e["event"] == "disagreed" for e in self._recorded.events)
        for disagreement in self._collector.take_disagreements()[: max(0, room)]:
            image = self._gallery.take(disagreement.request_id)
            self._recorded.disagreed(disagreement, time.time(), image)
        self._gallery.sweep()

    def _record(self, access: Place, feedback: Place) -> None:
        cursor = {"access": access.as_list(), "feedback": feedback.as_list()}
        self._recorded.observed(self._collector.take(), cursor, time.time())

    def _take(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            answer = answer_of(json.loads(line), self._spec)
            if answer is not None:
                self._collector.answer(answer, self.rollout.stratum_at(answer.at))

    def _take_labels(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                label = json.loads(line)
            except ValueError:
                continue  # the server was killed in the middle of it
            self._collector.label(label["request_id"], label["label"])

    # what the server shall do

    def _apply(self) -> None:
        """Make the server do as was decided; if it cannot now, the next turn tries again."""
        try:
            since = self._enforce()
        except (Conflict, ModelNotFound) as err:
            self._refused(err)
        except ClientError as err:  # it restarts, or hangs: the split there is holds on
            self._tell_once(f"the server does not take the split: {err}")
        else:
            self._refused_since, self._told = None, ""
            self._recorded.applied(since)
            shares = ", ".join(f"{v} {percent}%" for v, percent in self.rollout.split.items())
            self._tell(f"{self.rollout.phase}, step {self.rollout.step + 1}: {shares}")

    def _refused(self, err: ClientError) -> None:
        """Roll back if a version that got traffic before stays unable to get more."""
        if not self.rollout.strata:
            raise err
        self._tell_once(f"the server refuses the split: {err}")
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if not self.rollout.over and now - self._refused_since >= _PATIENCE_S:
            self._recorded.give_up(f"the split was refused: {err}", time.time())
            self._tell(f"{Action.ROLL_BACK}: the split was refused")
            self._refused_since = None

    def _enforce(self) -> float:
        """Set the split, and give since when it holds."""
        rollout, spec = self.rollout, self._spec
        shadow = {spec.candidate: rollout.shadow_percent} if rollout.shadow_percent else None
        split = self._manager.set_split(
            spec.model,
            {version: percent for version, percent in rollout.split.items() if percent},
            sticky_header=spec.sticky_header,
            shadow=shadow,
            keep_images=spec.shadow.keep_images_percent if spec.shadow and shadow else 0,
        )
        if rollout.phase is Phase.PROMOTED:
            self._switch()
        return float(split["since"])

    def _switch(self) -> None:
        """Put the candidate in the baseline's place, once all of the traffic is its own."""
        model, candidate = self._spec.model, self._spec.candidate
        versions = self._manager.describe(model)
        default = next(each.version for each in versions if each.is_default)
        if default == self._spec.baseline:
            self._replace(model, candidate)
        elif default != candidate:
            self._manager.set_default(model, candidate)
        self._manager.clear_split(model)

    def _replace(self, model: str, candidate: str) -> None:
        try:
            self._manager.switch(model, candidate)
        except Conflict as err:
            progress = self._manager.progress()
            if progress is not None and progress.state == "running":
                raise  # another operation: the next turn tries again
            self._manager.set_default(model, candidate)
            self._tell(f"{candidate} is the default, and {self._spec.baseline} stays: {err}")

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            self._tell(text)
            self._told = text


def put_aside(log_dir: Path, spec: RolloutSpec, *, again: bool) -> None:
    """Make room for a new rollout: one that ended, or never changed the split, goes aside.

    Args:
        log_dir: The server's folder of logs.
        spec: The new one. If it is the old one, it stays, and its end is this one's too.
        again: Put aside that one as well, if it ended.

    Raises:
        RolloutError: Another process drives it.
    """
    log = log_of(log_dir, spec.model)
    if not log.exists():
        return
    with Journal(log) as journal:
        if not journal.events:
            return
        old = replay(journal.events)
        is_over = old.over and not old.pending
        if (is_over and (again or old.spec != spec)) or (not old.strata and old.spec != spec):
            stamp = f"{old.started:.0f}"
            for file in (log, inbox_of(log)):
                if file.exists():
                    file.replace(file.with_stem(f"{file.stem}-{stamp}"))


def _places(cursor: dict[str, list[str | int]]) -> tuple[Place, Place]:
    """Read the places of the access log and of the feedback."""
    access, feedback = (Place(str(c[0]), int(c[1])) for c in (cursor["access"], cursor["feedback"]))
    return access, feedback
