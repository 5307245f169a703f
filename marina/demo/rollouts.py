"""Three rollouts under live load: a wrong candidate, a slower one, and a better one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from marina.client.management import ManagementClient
from marina.demo.candidates import Version, make_versions
from marina.demo.load import LiveLoad
from marina.display import output
from marina.errors import RolloutError
from marina.progress import console, tell
from marina.recipe import read_recipe
from marina.rollout.commands import log_of
from marina.rollout.comparison import Conclusion
from marina.rollout.decision import Phase
from marina.rollout.gates import Evidence, Status
from marina.rollout.live import LiveRollout, put_aside
from marina.rollout.report import write_report
from marina.rollout.rollout import Rollout
from marina.rollout.spec import RolloutSpec, read_rollout
from marina.rollout.summary import summarize
from marina.serve import resolve, running

if TYPE_CHECKING:
    from collections import Counter

    from marina.serve import ServeConfig, Server

RECIPE = Path("models/resnet.yaml")
ROLLOUT = Path("models/rollouts/demo.yaml")
LOGS = Path("logs/rollout-demo")
USERS = 3
LATENCY = frozenset({"p50_ratio"})
ANSWERS = frozenset({"shadow_agreement", "accuracy"})


@dataclass(frozen=True)
class Expected:
    """What a candidate's rollout has to come to.

    Attributes:
        phase: How it ends.
        gates: Of these one is breached, and no other; none for a promotion.
    """

    phase: Phase
    gates: frozenset[str] = frozenset()

    def held_against(self, evidence: Sequence[Evidence], phase: Phase) -> bool:
        """Tell whether it came to that."""
        breached = {each.gate for each in evidence if each.status is Status.BREACHED}
        return phase is self.phase and bool(breached) == bool(self.gates) and breached <= self.gates


EXPECTED = {
    "wrong": Expected(Phase.ROLLED_BACK, ANSWERS),
    "slower": Expected(Phase.ROLLED_BACK, LATENCY),
    "better": Expected(Phase.PROMOTED),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate.

    Attributes:
        version: The candidate.
        rollout: Its rollout.
        evidence: Behind the decision that ended it.
        took_s: From its start to its end, in seconds.
    """

    version: Version
    rollout: Rollout
    evidence: tuple[Evidence, ...]
    took_s: float

    def check(self) -> None:
        """Raise if it is not what this candidate deserves.

        Raises:
            RolloutError: It is not.
        """
        role, number = self.version.role, self.rollout.spec.candidate
        split = self.rollout.split_check()
        if split.mismatch:
            raise RolloutError(f"the rollout of the {role} candidate: {split.sentence}")
        if not EXPECTED[role].held_against(self.evidence, self.rollout.phase):
            gates = "; ".join(f"{each.gate}: {each.sentence}" for each in self.evidence)
            raise RolloutError(
                f"the {role} candidate, {number}, was {self.rollout.phase}, not "
                f"{EXPECTED[role].phase} as it should be. {gates}. A machine that is busy with "
                "other work makes latencies hard to tell apart: try again when it is quieter"
            )


def run_rollouts(config: ServeConfig) -> None:
    """Make the candidates, serve them all, and roll out one after the other under load.

    Args:
        config: Where to listen; archives, logs and reports have folders of the demo's own.

    Raises:
        RolloutError: A rollout did not end as its candidate deserves, the traffic was not split
            as declared, or a request failed.
        MarinaError: Any other step failed; the message says which and why.
    """
    started = time.monotonic()
    recipe = read_recipe(RECIPE)
    versions, store = make_versions(recipe)
    asked = read_rollout(ROLLOUT)
    config = replace(config, model_store=store.folder)
    log_dir = LOGS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    models = resolve([str(store.folder / each.entry.file) for each in versions.values()], Path())
    outcomes: list[Outcome] = []
    with running(config, models, log_dir=log_dir, on_event=tell) as server:
        load = LiveLoad(server, recipe.data.root / "test", USERS)
        with load, ManagementClient(server.management_url) as manager:
            for number, version in versions.items():
                if version.role != "baseline":
                    spec = asked.model_copy(update={"candidate": number})
                    outcomes.append(_roll_out(spec, version, server, manager, load))
        statuses = load.statuses()
    show(outcomes, statuses, asked, versions[asked.baseline])
    output.print(f"took {time.monotonic() - started:.0f} s in all")
    check(outcomes, statuses)


def check(outcomes: Sequence[Outcome], statuses: Counter[int]) -> None:
    """Raise if anything went otherwise than it should.

    Raises:
        RolloutError: It did.
    """
    for outcome in outcomes:
        outcome.check()
    failed = statuses.total() - statuses[200]
    if failed:
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        raise RolloutError(
            f"{failed} of {statuses.total():,} requests failed, by status (0 is no answer) {counts}"
        )


def _roll_out(
    spec: RolloutSpec, version: Version, server: Server, manager: ManagementClient, load: LiveLoad
) -> Outcome:
    """Drive one rollout to its end."""
    started = time.monotonic()
    console.print(f"\n{spec.candidate}, the {version.role} one, is rolled out", highlight=False)
    put_aside(server.log_dir, spec, again=True)
    with LiveRollout(spec, server.log_dir, manager, _tell) as live:
        live.run(each_turn=load.check)
        outcome = Outcome(version, live.rollout, live.rollout.evidence, time.monotonic() - started)
    log = log_of(server.log_dir, spec.model)
    page = log.with_name(f"{version.role}.html")
    write_report(log, page)
    console.print(f"its report: {page}", highlight=False, soft_wrap=True)
    return outcome


def _tell(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def show(
    outcomes: Sequence[Outcome], statuses: Counter[int], asked: RolloutSpec, baseline: Version
) -> None:
    """Show what became of each candidate, and of all requests."""
    table = Table("version", "in the lab", "p50 ms", "outcome", "requests", "s", "split")
    table.add_row(f"{asked.baseline} baseline", f"{baseline.accuracy:.2%}")
    for outcome in outcomes:
        table.add_row(*_row(outcome))
    output.print(table)
    for outcome in outcomes:
        named = f"{outcome.rollout.spec.candidate} {outcome.version.role}"
        output.print(f"{named}: {_why(outcome.evidence)}", highlight=False, soft_wrap=True)
    failed = statuses.total() - statuses[200]
    color = "red" if failed else "green"
    output.print(f"[{color}]{failed} of {statuses.total():,} requests failed[/]", highlight=False)


def _row(outcome: Outcome) -> list[str]:
    spec, rollout = outcome.rollout.spec, outcome.rollout
    tallies = [stratum.tally for stratum in rollout.strata]
    summary = summarize(tallies, (spec.baseline, spec.candidate))
    arms = (summary.baseline, summary.candidate)
    color = "green" if rollout.phase is Phase.PROMOTED else "red"
    return [
        f"{spec.candidate} {outcome.version.role}",
        f"{outcome.version.accuracy:.2%}",
        " → ".join(_write(arm.p50_ms) for arm in arms),
        f"[{color}]{rollout.phase}[/]",
        " + ".join(f"{arm.requests:,}" for arm in arms),
        f"{outcome.took_s:.0f}",
        "NOT as declared" if rollout.split_check().mismatch else "verified",
    ]


def _why(evidence: Sequence[Evidence]) -> str:
    """Give the gates that were breached, or those that show it better, with what was seen."""
    breached = [each for each in evidence if each.status is Status.BREACHED]
    chosen = breached or [each for each in evidence if each.verdict == Conclusion.BETTER]
    said = [f"{each.gate} {each.verdict}, {each.sentence}" for each in chosen]
    return "; ".join(said) or "nothing differs by more than is allowed"


def _write(latency_ms: float | None) -> str:
    return "–" if latency_ms is None else f"{latency_ms:.1f}"
