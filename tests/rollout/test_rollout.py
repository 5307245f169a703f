from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from marina.cli import app
from marina.errors import RolloutError
from marina.rollout.commands import Command, inbox_of, log_of, send
from marina.rollout.decision import EXIT_CODES, Action, Phase
from marina.rollout.gates import Status
from marina.rollout.recorded import RecordedRollout, read_rollout_log
from tests.rollout.traffic import Driver, Traffic, Version, spec

GOOD = Version()


def events_of(log: Path, kind: str) -> list[dict[str, object]]:
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return [event for event in events if event["event"] == kind]


def test_a_good_candidate_is_promoted_step_by_step(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "log.jsonl", Traffic(GOOD, Version(accuracy=0.99)), spec())
    decisions = driver.run(300)
    assert [decision.action for decision in decisions] == [Action.ADVANCE, Action.PROMOTE]
    assert driver.rollout.phase is Phase.PROMOTED
    assert driver.rollout.split == {"1.0": 0, "2.0": 100}
    assert EXIT_CODES[driver.rollout.phase] == 0
    evidence = {each.gate: each for each in decisions[-1].evidence}
    assert all(each.status is Status.PASSED for each in evidence.values() if each.required)
    assert "no difference larger" in driver.rollout.verdict or "better" in driver.rollout.verdict


@pytest.mark.parametrize(
    ("candidate", "gates"),
    [
        (Version(accuracy=0.3), {"shadow_agreement", "accuracy", "class_mix"}),
        (Version(latency_ms=20.0), {"p50_ratio"}),
        (Version(failure_rate=0.5), {"error_rate", "shadow_agreement"}),
    ],
    ids=["wrong", "slow", "failing"],
)
def test_a_bad_candidate_is_rolled_back_within_seconds(
    tmp_path: Path, candidate: Version, gates: set[str]
) -> None:
    driver = Driver(tmp_path / "log.jsonl", Traffic(GOOD, candidate), spec())
    (decision,) = driver.run(300)
    assert decision.action is Action.ROLL_BACK
    assert decision.at < 30
    breached = {each.gate for each in decision.evidence if each.status is Status.BREACHED}
    assert breached
    assert breached <= gates
    assert driver.rollout.split == {"1.0": 100, "2.0": 0}
    assert EXIT_CODES[driver.rollout.phase] == 11
    assert driver.rollout.verdict.startswith("worse: ")
    (logged,) = events_of(tmp_path / "log.jsonl", "decided")
    assert logged["reason"] == decision.reason
    assert logged["evidence"]


def test_on_breach_pause_waits_for_a_person(tmp_path: Path) -> None:
    asked = spec(abort={"on_breach": "pause"})
    driver = Driver(tmp_path / "log.jsonl", Traffic(GOOD, Version(failure_rate=0.5)), asked)
    decisions = driver.run(60)
    assert [decision.action for decision in decisions] == [Action.PAUSE]
    assert driver.rollout.phase is Phase.PAUSED
    driver.recorded.command(Action.ROLL_BACK, 60.0, "seen enough")
    assert driver.rollout.phase is Phase.ROLLED_BACK
    with pytest.raises(RolloutError, match="cannot promote a rollout that is rolled back"):
        driver.recorded.command(Action.PROMOTE, 61.0, "after all")


def test_a_paused_rollout_holds_its_step_and_goes_on(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "log.jsonl", Traffic(GOOD, GOOD), spec())
    driver.run(3)
    driver.recorded.command(Action.PAUSE, 3.0, "lunch")
    assert driver.run(20, since=3) == []
    assert driver.rollout.step == 0
    driver.recorded.command(Action.RESUME, 23.0, "back")
    assert driver.run(5, since=23)[0].action is Action.ADVANCE


def test_a_split_that_is_not_real_pauses_the_rollout(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "log.jsonl", Traffic(GOOD, GOOD, split_is_real=False), spec())
    (decision,) = driver.run(60)
    assert decision.action is Action.PAUSE
    assert "NOT split as declared" in decision.reason


def test_an_undecided_rollout_ends_at_its_time(tmp_path: Path) -> None:
    gates = {"error_rate": {"max_increase": 0.0001}}
    asked = spec(gates=gates, abort={"max_time_s": 40}, shadow=None)
    driver = Driver(tmp_path / "log.jsonl", Traffic(GOOD, GOOD), asked)
    decisions = driver.run(100)
    assert decisions[-1].action is Action.ROLL_BACK
    assert "not decided within 40 s" in decisions[-1].reason


def test_a_restart_anywhere_leads_to_the_same_end(tmp_path: Path) -> None:
    """Kill every few seconds, with half a line in the log: nothing lost, nothing counted twice."""
    whole = Driver(tmp_path / "whole.jsonl", Traffic(GOOD, GOOD), spec())
    whole.run(300)
    traffic, log, driver, now = Traffic(GOOD, GOOD), tmp_path / "cut.jsonl", None, 0
    while driver is None or not driver.rollout.over:
        if driver is not None:
            driver.recorded.close()
            with log.open("a") as file:
                file.write('{"event": "observed", "at": 1')
        driver = Driver(log, traffic, spec())
        driver.run(7, since=now)
        now += 7
    tallies = [stratum.tally for stratum in driver.rollout.strata]
    assert tallies == [stratum.tally for stratum in whole.rollout.strata]
    assert events_of(log, "decided") == events_of(tmp_path / "whole.jsonl", "decided")


def test_commands_in_the_inbox_are_obeyed_once(tmp_path: Path) -> None:
    log = log_of(tmp_path, "resnet")
    traffic = Traffic(GOOD, GOOD)
    driver = Driver(log, traffic, spec())
    driver.run(2)
    for action in (Action.PAUSE, Action.PAUSE):
        send(log, Command(action, 2.0, "lunch"))
    with inbox_of(log).open("ab") as file:
        file.write(b'{"action": "promote"')  # half a line
    driver.run(2, since=2)
    assert driver.rollout.phase is Phase.PAUSED
    assert len(events_of(log, "commanded")) == len(events_of(log, "refused")) == 1
    driver.recorded.close()
    again = Driver(log, traffic, None)
    again.run(1, since=4)
    assert len(events_of(log, "commanded")) == 1
    send(log, Command(Action.RESUME, 5.0, "back"))
    again.run(1, since=5)
    assert again.rollout.phase is Phase.RUNNING
    with pytest.raises(RolloutError, match="is no model's name"):
        log_of(tmp_path, "../up")
    with pytest.raises(RolloutError, match="no rollout log"):
        send(log_of(tmp_path, "other"), Command(Action.PAUSE, 0.0, ""))


def test_the_verbs_read_the_log_and_fill_the_inbox(tmp_path: Path) -> None:
    driver = Driver(log_of(tmp_path, "resnet"), Traffic(GOOD, GOOD), spec())
    driver.run(3)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["rollout", *arguments, "--log-dir", str(tmp_path)])

    status = run("status", "resnet", "--json")
    assert status.exit_code == EXIT_CODES[Phase.RUNNING] == 12
    shown = json.loads(status.stdout)
    assert (shown["phase"], shown["split"]) == ("running", {"1.0": 90, "2.0": 10})
    assert "error_rate" in run("status", "resnet").stdout
    assert run("rollback", "resnet", "--reason", "a hunch").exit_code == 0
    driver.run(5, since=3)
    assert run("status", "resnet").exit_code == 11
    assert "a hunch" in run("history", "resnet").stdout
    assert json.loads(run("history", "resnet", "--json").stdout)[0]["action"] == "rollback"
    assert run("report", "resnet").exit_code == 0
    assert log_of(tmp_path, "resnet").with_name("report.html").is_file()
    late = run("pause", "resnet")
    assert isinstance(late.exception, RolloutError)
    assert "cannot pause a rollout that is rolled back" in str(late.exception)


def test_every_request_between_two_changes_is_counted_once(tmp_path: Path) -> None:
    traffic = Traffic(GOOD, GOOD)
    driver = Driver(tmp_path / "log.jsonl", traffic, spec())
    driver.run(300)
    own = [entry for kind, entry in traffic.log if kind == "answer" and not entry.mirrored]
    mirrored = [entry for kind, entry in traffic.log if kind == "answer" and entry.mirrored]
    tallies = [stratum.tally for stratum in driver.rollout.strata]
    counted = sum(tally.baseline.requests + tally.candidate.requests for tally in tallies)
    assert counted == len(own)
    paired = sum(tally.pairs.agree + tally.pairs.disagree for tally in tallies)
    failed = {entry.request_id for entry in own if not entry.succeeded}
    assert paired == sum(entry.request_id not in failed for entry in mirrored)


def test_a_log_is_held_by_one_process_and_read_by_any(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "log.jsonl", Traffic(GOOD, GOOD), spec())
    driver.run(3)
    with pytest.raises(RolloutError, match="held by another process"):
        RecordedRollout(tmp_path / "log.jsonl", None, 0.0)
    seen, events = read_rollout_log(tmp_path / "log.jsonl")
    assert seen.verdict.startswith("keep running")
    assert len(events) == len(driver.recorded.events)


def test_a_log_of_another_rollout_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="is empty"):
        RecordedRollout(tmp_path / "log.jsonl", None, 0.0)
    RecordedRollout(tmp_path / "log.jsonl", spec(), 0.0).close()
    with pytest.raises(RolloutError, match="other steps or gates"):
        RecordedRollout(tmp_path / "log.jsonl", spec(candidate="3.0"), 0.0)
    with pytest.raises(RolloutError, match="no rollout log"):
        read_rollout_log(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"event": \n{}\n')
    with pytest.raises(RolloutError, match="line 1 is no JSON"):
        read_rollout_log(tmp_path / "bad.jsonl")


WRITER = """
import sys
from pathlib import Path
from marina.rollout.journal import Journal
with Journal(Path(sys.argv[1])) as journal:
    for number in range(10**9):
        journal.append({"event": "observed", "number": number, "filler": "x" * 5000})
        print(number, flush=True)
"""


def test_sigkill_loses_no_event_that_was_recorded(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(log)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [int(line) for line in writer.stdout]
    from marina.rollout.journal import Journal

    with Journal(log) as journal:
        numbers = [event["number"] for event in journal.events]
    assert numbers == list(range(len(numbers)))
    assert numbers[-1] >= told[-1]
