"""Prometheus's files, by Prometheus's own promtool; and the runbook that the alerts link to."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from .promql import REPO, metrics_of, queries, rules

FOLDER = REPO / "docker" / "prometheus"
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


def promtool(*words: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_the_configuration_is_valid() -> None:
    assert "2 rule files found" in promtool("check", "config", FOLDER / "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", *FOLDER.glob("rules/*.yml"))


@needs_promtool
def test_rules_record_and_alert_as_they_shall() -> None:
    promtool("test", "rules", *FOLDER.glob("tests/*.yml"))


def test_each_alert_is_seen_firing_in_a_test() -> None:
    firing = (FOLDER / "tests" / "alerts.yml").read_text()
    assert [name for name in ALERTS if f'alertname="{name}"' not in firing] == []


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_its_section_of_the_runbook(name: str) -> None:
    url = ALERTS[name]["annotations"]["runbook_url"]
    file, _, anchor = url.partition("#")
    assert anchor == name.lower()
    sections = re.split(r"(?m)^## ", (REPO / file).read_text())[1:]
    found = [text for text in sections if text.splitlines()[0].lower() == anchor]
    assert len(found) == 1
    for part in (r"\*\*What it means\.\*\*", r"\*\*Look at\*\*", r"\*\*[Dd]o\.?\*\*"):
        assert re.search(part, found[0]), part


@pytest.mark.parametrize("page", ["docs/runbook.md", "docs/metrics.md"])
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    text = (REPO / page).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = (REPO / page).parent / file if file else REPO / page
        assert linked.exists(), target
        if anchor:
            assert f"\n## {anchor}\n" in linked.read_text().lower(), target


def test_what_is_asked_of_envoy_is_kept_of_its_scrape() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    kept = next(job for job in jobs if job["job_name"] == "envoy")["metric_relabel_configs"][0]
    names = {name for _, query in queries() for name in metrics_of(query)}
    asked = {name for name in names if name.startswith("envoy_")}
    assert asked
    assert [name for name in asked if not re.fullmatch(kept["regex"], name)] == []
