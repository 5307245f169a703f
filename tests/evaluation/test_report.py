from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from marina.evaluation.comparison import compare
from marina.evaluation.report import Report, make_report, write_report
from marina.train.dataset import Split
from marina.train.evaluation import Evaluation, evaluate
from marina.train.run import Run


@pytest.fixture(scope="module")
def report(quick_run: Run) -> Report:
    evaluation = evaluate(quick_run)
    return make_report(quick_run, "test", evaluation, compare(quick_run, evaluation, quick_run))


def test_the_folder_holds_figures_plots_and_a_page_that_needs_no_other(
    report: Report, quick_run: Run
) -> None:
    page = write_report(report)
    assert page == quick_run.folder / "evaluation" / "test" / "report.html"
    metrics = json.loads((page.parent / "metrics.json").read_text())
    assert metrics["accuracy"] == quick_run.metrics["test"]["accuracy"]
    assert {"calibration", "classes", "comparison", "mistakes", "throughput"} <= set(metrics)
    assert metrics["throughput"]["network_images_per_s"] > metrics["throughput"]["images_per_s"] > 0
    for name in ("confusion", "reliability", "curves", "mistakes"):
        with Image.open(page.parent / f"{name}.png") as image:
            assert min(image.size) > 100
    html = page.read_text()
    links = re.findall(r'(?:src|href)="([^"]{1,30})', html)
    assert len(links) == 4
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert f"{100 * metrics['accuracy']:.2f}%" in html
    assert "no real difference is shown" in html
    HTMLParser().feed(html)


def test_a_run_without_mistakes_and_with_odd_labels(report: Report, tmp_path: Path) -> None:
    """Labels come from folder names: they are text, never markup, in the page and the plots."""
    labels = tuple(f"<b>$x{index}^</b> 数" for index in range(10))
    split = report.evaluation.split
    truth = Split(split.root, labels, split.files, tuple(report.evaluation.predicted.tolist()))
    run = Run(tmp_path)
    for name in ("recipe.yaml", "checkpoint.pt", "metrics.json"):
        (tmp_path / name).symlink_to(report.run.folder / name)
    perfect = Evaluation(truth, report.evaluation.logits, report.evaluation.throughput, 2.0)
    page = write_report(make_report(run, "val", perfect))
    assert not (page.parent / "mistakes.png").exists()
    html = page.read_text()
    assert "<b>" not in html
    assert "&lt;b&gt;$x0^&lt;/b&gt; 数" in html
    assert "There are none." in html
    assert "at the temperature 2 " in html
