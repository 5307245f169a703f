"""Which metrics the rules, dashboards, manifests and pages of this repository name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).parents[2]
RULES = REPO / "docker" / "prometheus" / "rules"
DASHBOARDS = REPO / "docker" / "grafana" / "dashboards"

# Of Prometheus itself.
BUILT_IN = {"up", "ALERTS"}

_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_WORDS = {"and", "or", "unless", "offset", "bool", "by", "on"}
_NAME = re.compile(r"(?<![\w:.])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])")


def metrics_of(promql: str) -> set[str]:
    """Give the names of the metrics in an expression."""
    text = re.sub(r'"(\\.|[^"\\])*"', "", promql)
    text = re.sub(r"\[[^\]]*\]", "", text)
    text = re.sub(r"\{[^}]*\}", "", text)
    text = _GROUPING.sub("", text)
    return set(_NAME.findall(text)) - _WORDS


def rules() -> list[dict[str, Any]]:
    """Give all recording and alert rules."""
    files = sorted(RULES.glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def recorded() -> set[str]:
    """Give the names that the rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}


def queries() -> Iterator[tuple[str, str]]:
    """Give all expressions in PromQL, each with where it stands."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for file in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield f"{file.name}: {panel['title']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield file.name, re.sub(r"label_values\((.*),.*\)", r"\1", variable["query"])
    yield from _manifests()


def documented() -> set[str]:
    """Give the names of docs/metrics.md: those in the first column of its tables of metrics."""
    names: set[str] = set()
    is_metrics = False
    for line in (REPO / "docs" / "metrics.md").read_text().splitlines():
        if not line.startswith("|"):
            is_metrics = False
        elif line.startswith("| metric |"):
            is_metrics = True
        elif is_metrics:
            names |= set(re.findall(r"`([^`]+)`", line.split("|")[1]))
    return names


def _manifests() -> Iterator[tuple[str, str]]:
    folder = REPO / "docker" / "k8s"
    rules = yaml.safe_load((folder / "base" / "adapter-rules.yaml").read_text())
    for rule in yaml.safe_load(rules["data"]["config.yaml"])["rules"]:
        yield "adapter-rules.yaml", rule["seriesQuery"]
        yield "adapter-rules.yaml", rule["metricsQuery"]
    templates = (folder / "flagger" / "metric-templates.yaml").read_text()
    for template in yaml.safe_load_all(templates):
        yield "metric-templates.yaml", template["spec"]["query"]
