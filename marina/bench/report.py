"""The HTML report of a measurement: one file that needs no other."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import yaml

from marina.files import write_whole

if TYPE_CHECKING:
    from marina.bench.result import Result

FILE = "report.html"


def write_report(result: Result, plots: list[Path], folder: Path) -> Path:
    """Write ``report.html``.

    Args:
        result: What was measured.
        plots: PNG files, which go into the page.
        folder: Where to.
    """
    document = result.document
    recipe = document["target"].get("recipe")
    page = _render(
        title=f"{document['load']['model']} at {document['load']['url']}",
        subtitle=f"{describe_load(document['load'])}; {document['started']}",
        notes=notes(result),
        numbers=numbers(result),
        slo=document.get("slo", []),
        images=[(file.stem, base64.b64encode(file.read_bytes()).decode()) for file in plots],
        errors=document["errors"],
        facts={**_facts("images", document["images"]), **document["environment"]},
        recipe=recipe and yaml.safe_dump(recipe, sort_keys=False),
    )
    file = folder / FILE
    write_whole(file, page)
    return file


def describe_load(load: dict[str, Any]) -> str:
    """Say in words what was sent."""
    if load["rate"] is not None:
        kind = f"open loop, {load['rate']:g} requests/s, {load['arrivals']} arrivals"
    else:
        kind = f"closed loop, {load['users']} users"
    protocol = {"rest": "REST", "grpc": "gRPC"}[load["protocol"]]
    return f"{protocol}, {kind}, {load['duration_s']:g} s after {load['warmup_s']:g} s of warm-up"


def numbers(result: Result) -> list[tuple[str, str]]:
    """Give the summary as lines of a table."""
    summary = result.summary
    rows = [
        ("requests", f"{summary.requests}"),
        ("errors", f"{summary.errors}"),
        ("throughput", f"{summary.throughput:.1f} answers/s"),
        *((name, f"{value:.1f} ms") for name, value in summary.latency_ms.items()),
    ]
    if summary.cpu_ms is not None:
        rows.append(("server CPU", f"{summary.cpu_ms:.2f} ms per answer"))
        rows.append(("server's busy cores", f"{summary.cores:.2f}"))
        rows.append(("server's memory", f"{summary.rss_mb:.0f} MB (resident, all processes)"))
    rows.append(("load generator's busy cores", f"{summary.client_cores:.2f}"))
    limit = result.document.get("limit")
    if limit:
        share = summary.throughput / limit["throughput"]
        text = f"{share:.0%} of {limit['throughput']:.1f} answers/s in-process ({limit['layout']})"
        rows.append(("share of the limit", text))
    return rows


def notes(result: Result) -> list[str]:
    """Give what a reader must know before believing the numbers."""
    found = []
    problem = result.document["stability"]["problem"]
    if problem:
        found.append(f"not steady: {problem}")
    if result.summary.client_cores > 0.9:
        found.append(
            "the load generator was busy all the time: it, not the server, may be the limit"
        )
    if result.summary.errors:
        found.append(f"{result.summary.errors} of {result.summary.requests} requests failed")
    return found


def _facts(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}: {key}": value for key, value in values.items()}


def _render(**values: Any) -> str:
    template = Path(__file__).with_name("report.html").read_text()
    environment = jinja2.Environment(autoescape=True)
    return environment.from_string(template).render(values)
