from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from marina.errors import RolloutError
from marina.rollout.collector import Disagreement
from marina.rollout.recorded import RecordedRollout
from marina.rollout.report import GALLERY, write_report
from marina.rollout.summary import Share, summarize
from marina.rollout.tally import ArmTally, PairTally, Tally
from tests.rollout.traffic import Driver, Traffic, Version, spec

REPO = Path(__file__).parents[2]


class Page(HTMLParser):
    """What a page loads, and how its tags balance."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_rolled_back_rollout_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log" / "log.jsonl"
    driver = Driver(log, Traffic(Version(), Version(accuracy=0.3)), spec())
    driver.run(60)
    for name in ("log/kept.png", "log/notes.txt", "outside.png"):
        (tmp_path / name).write_bytes((REPO / "digit.png").read_bytes())
    said = Disagreement("r-1", ("<b>7</b>", 0.9), None)
    for name in ("kept.png", "notes.txt", "../outside.png"):
        driver.recorded.disagreed(said, 60.0, image=name)
    for at in range(61, 61 + GALLERY):
        driver.recorded.disagreed(Disagreement("r-2", ("1", 0.5), ("2", 0.25)), at, image=None)
    write_report(log, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.loaded)
    assert sum(link.startswith("data:") for link in page.loaded) == 1
    assert text.count("<svg") == 3
    assert "rolled back" in text
    assert "worse: " in text
    assert "gate breached" in text
    assert "1.0: &lt;b&gt;7&lt;/b&gt; (90%)<br>2.0: failed<br>" in text
    assert "1.0: 1 (50%)<br>2.0: 2 (25%)<br>" in text
    assert re.search(r"Now <strong>rolled back</strong>:\s*100% to 1.0, 0% to 2.0", text)


def test_a_rollout_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    RecordedRollout(tmp_path / "log.jsonl", spec(), 0.0).close()
    write_report(tmp_path / "log.jsonl", tmp_path / "report.html")
    assert "nothing to compare yet" in (tmp_path / "report.html").read_text()
    with pytest.raises(RolloutError, match="no rollout log"):
        write_report(tmp_path / "none.jsonl", tmp_path / "report.html")


def test_the_same_log_gives_the_same_report(tmp_path: Path) -> None:
    Driver(tmp_path / "log.jsonl", Traffic(Version(), Version()), spec()).run(5)
    for name in ("one.html", "two.html"):
        write_report(tmp_path / "log.jsonl", tmp_path / name)
    assert (tmp_path / "one.html").read_text() == (tmp_path / "two.html").read_text()


def test_figures_of_the_arms_and_of_both() -> None:
    tallies = [
        Tally(
            baseline=ArmTally(requests=50, failures=1, latency={600: 10}, right=90, wrong=10),
            candidate=ArmTally(requests=50, latency={700: 10}),
            pairs=PairTally(
                agree=9,
                disagree=1,
                both_right=8,
                candidate_only=1,
                confidence_shift={10: 1, 0: 1},
                latency_ratio={70: 2, 0: 1},
            ),
        ),
        Tally(baseline=ArmTally(requests=50, right=90, wrong=10)),
    ]
    summary = summarize(tallies, ("1.0", "2.0"))
    assert summary.baseline.requests == 100
    accuracy = summary.baseline.accuracy
    assert (accuracy.share, accuracy.trials) == (0.9, 200)
    assert 0.8 < accuracy.low < 0.9 < accuracy.high < 0.97
    assert summary.candidate.accuracy.share is None
    assert summary.candidate.p50_ms is not None
    assert summary.pairs.labelled == 9
    assert summary.pairs.confidence_shift == pytest.approx(0.05)
    assert summary.pairs.latency_ratio == pytest.approx(2.0, rel=0.01)
    assert summary.pairs.p_value == 1.0
    assert summary.as_dict()["baseline"]["version"] == "1.0"
    assert Share.of(0, 0, 0.05).low == 0.0
