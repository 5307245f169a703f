"""The report of a rollout: one HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from marina.files import write_whole
from marina.rollout import plots
from marina.rollout.gates import overall
from marina.rollout.journal import Event
from marina.rollout.recorded import read_rollout_log, replay
from marina.rollout.summary import summarize
from marina.rollout.tally import Tally

GALLERY = 60
IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


@dataclass(frozen=True)
class Disagreed:
    """One entry of the gallery.

    Attributes:
        request_id: To find it by in the access log.
        baseline: What the baseline said.
        candidate: What the candidate said.
        image: The image as a data URI; None if it was not kept.
    """

    request_id: str
    baseline: str
    candidate: str
    image: str | None


def write_report(log: Path, out: Path) -> None:
    """Write the report of a rollout's log, running or over.

    Raises:
        RolloutError: There is no log, or it is damaged.
    """
    _, events = read_rollout_log(log)
    write_whole(out, report_html(events, log.parent))


def report_html(events: Sequence[Event], folder: Path) -> str:
    """Give the report as HTML.

    Args:
        events: The rollout's log.
        folder: Where the log is; images in the log are named relative to it.
    """
    rollout = replay(events)
    spec, evidence = rollout.spec, rollout.evidence
    tallies = [stratum.tally for stratum in rollout.strata]
    versions = {"baseline": spec.baseline, "candidate": spec.candidate}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["time"] = _time
    environment.filters["share"] = _share
    template = files("marina.rollout").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        spec=spec,
        phase=rollout.phase,
        split=rollout.split,
        verdict=overall(evidence),
        evidence=evidence,
        summary=summarize(tallies, (spec.baseline, spec.candidate)),
        split_check=rollout.split_check(),
        decisions=[event for event in events if event["event"] in {"decided", "commanded"}],
        begin=events[0]["at"],
        end=events[-1]["at"],
        pictures={
            "traffic": Markup(plots.traffic(events)),  # noqa: S704 - our own drawing
            "latency": Markup(plots.latency(sum(tallies, Tally()), versions)),  # noqa: S704
            "gates": Markup(plots.gates(evidence)),  # noqa: S704
        },
        gallery=_gallery(events, folder),
    )


def _gallery(events: Sequence[Event], folder: Path) -> list[Disagreed]:
    """Give the newest disagreements, those with an image first."""
    found = [event for event in events if event["event"] == "disagreed"]
    found.sort(key=lambda event: (event["image"] is None, -event["at"]))
    return [
        Disagreed(
            event["request_id"],
            _said(event["baseline"]),
            _said(event["candidate"]),
            _image(folder, event["image"]),
        )
        for event in found[:GALLERY]
    ]


def _said(answer: Sequence[Any] | None) -> str:
    return f"{answer[0]} ({answer[1]:.0%})" if answer else "failed"


def _image(folder: Path, name: str | None) -> str | None:
    """Give a kept image as a data URI; None for one that is gone or lies elsewhere."""
    if name is None:
        return None
    file = (folder / name).resolve()
    kind = IMAGE_TYPES.get(file.suffix.lower())
    if kind is None or not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
