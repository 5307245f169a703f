from __future__ import annotations

import json

from typer.testing import CliRunner

from marina.cli import app
from marina.train.run import Run


def test_json_for_programs_holds_figures_and_rows_and_nothing_else(quick_run: Run) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(quick_run.folder), "--split", "val", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["split"] == "val"
    assert said["images"] == len(said["rows"])
    assert set(said["rows"][0]) == {"file", "truth", "predicted", "probability"}
    right = [row["truth"] == row["predicted"] for row in said["rows"]]
    assert said["accuracy"] == sum(right) / len(right)
    assert (quick_run.folder / "evaluation" / "val" / "report.html").is_file()


def test_a_person_sees_classes_scores_and_where_the_report_is(quick_run: Run) -> None:
    done = CliRunner().invoke(
        app, ["evaluate", str(quick_run.folder), "--compare", str(quick_run.folder)]
    )
    assert done.exit_code == 0, done.output
    for said in ("Classes", "95% interval", "calibration error", "no real difference"):
        assert said in done.stdout
    assert "report.html" in done.stderr
