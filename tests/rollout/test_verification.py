"""The split verified by the gateway's access log."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from marina.errors import SplitError
from marina.gateway import make_split, parse_shares
from marina.rollout.verification import verify_logged_split


def write_split(folder: Path, *weights: str) -> None:
    split = {**make_split("m", parse_shares(weights)).as_dict(), "since": 1000.0}
    (folder / "splits.json").write_text(json.dumps({"format": 1, "splits": [split]}))


def write_log(folder: Path, **counts: int) -> None:
    lines = [line(arm=arm.removeprefix("v")) for arm, count in counts.items() for _ in range(count)]
    write_lines(folder, lines)


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "gateway.log").write_text("".join(f"{json.dumps(each)}\n" for each in lines))


def line(at: float = 2000.0, **values: Any) -> dict[str, Any]:
    time = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    return {"time": time, "model": "m", "kind": "split", "arm": "1", "user": None, **values}


def test_a_true_split(tmp_path: Path) -> None:
    write_split(tmp_path, "1=90", "2=10")
    write_log(tmp_path, v1=905, v2=95)
    check = verify_logged_split(tmp_path, "m")
    assert not check.mismatch
    assert check.sentence.startswith("the traffic is split as declared: of 1,000 requests 1 got")


def test_a_split_that_is_not_as_declared(tmp_path: Path) -> None:
    write_split(tmp_path, "1=90", "2=10")
    write_log(tmp_path, v1=800, v2=200)
    check = verify_logged_split(tmp_path, "m")
    assert check.mismatch
    assert "NOT split as declared" in check.sentence


def test_only_what_the_split_chose_counts(tmp_path: Path) -> None:
    """Neither forced arms, nor copies, explicit versions, other models, or older requests."""
    write_split(tmp_path, "1=50", "2=50")
    others: list[dict[str, Any]] = [
        {"kind": "forced"},
        {"kind": "shadow"},
        {"kind": None, "arm": None},
        {"model": "n"},
        {"at": 999.0},
    ]
    lines = [line(**other) for other in others for _ in range(200)]
    write_lines(tmp_path, [*lines, *[line(), line(arm="2")] * 50])
    check = verify_logged_split(tmp_path, "m")
    assert sum(arm.requests for arm in check.arms) == 100
    assert not check.mismatch


def test_a_user_counts_once(tmp_path: Path) -> None:
    """One who asks a thousand times is one draw of a sticky split."""
    write_split(tmp_path, "1=50", "2=50")
    users = [line(arm=str(1 + number % 2), user=f"{number}") for number in range(100)]
    write_lines(tmp_path, [*users, *[line(user="0")] * 1000])
    check = verify_logged_split(tmp_path, "m")
    assert [arm.requests for arm in check.arms] == [50, 50]


def test_no_requests_and_no_split(tmp_path: Path) -> None:
    write_split(tmp_path, "1=50", "2=50")
    assert "nothing to verify" in verify_logged_split(tmp_path, "m").sentence
    with pytest.raises(SplitError, match="n has no split"):
        verify_logged_split(tmp_path, "n")
