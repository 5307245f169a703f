"""The demo of rollouts from nothing; it takes minutes: make test-full."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from conftest import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("MARINA_FULL" not in os.environ, reason="it takes minutes: make test-full"),
]


def test_each_candidate_gets_what_it_deserves(checkout: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["marina", "demo", "rollout"],
        cwd=checkout,
        env={**environment, "COLUMNS": "240"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    roles = ("wrong", "slower", "better")
    rows = {role: next(line for line in lines if role in line) for role in roles}
    assert "rolled back" in rows["wrong"]
    assert "rolled back" in rows["slower"]
    assert any(line.startswith("3.0 slower: p50_ratio worse") for line in lines)
    assert "promoted" in rows["better"]
    assert all("verified" in row for row in rows.values())
    assert any(re.fullmatch(r"0 of [\d,]+ requests failed", line.strip()) for line in lines)
    reports = (checkout / "logs" / "rollout-demo").rglob("*.html")
    assert {report.stem for report in reports} == set(rows)
    assert not (checkout / "model_store" / "resnet-2.0.mar").exists()
    assert nothing_runs(checkout)


def test_ctrl_c_under_load_leaves_nothing(checkout: Path, environment: dict[str, str]) -> None:
    before = set((checkout / "logs" / "rollout-demo").iterdir())
    process = subprocess.Popen(
        ["marina", "demo", "rollout"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def logs() -> list[Path]:
        new = set((checkout / "logs" / "rollout-demo").iterdir()) - before
        return [log for folder in new for log in folder.glob("rollouts/resnet/rollout*.jsonl")]

    wait_for(lambda: any('"observed"' in log.read_text() for log in logs()), process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=90)
    assert process.returncode == 130, said.decode()
    assert b"Traceback" not in said, said.decode()
    assert nothing_runs(checkout)
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert [file for file in checkout.rglob(".*.tmp") if ".venv" not in file.parts] == []


def nothing_runs(checkout: Path) -> bool:
    return [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(checkout)] == []
