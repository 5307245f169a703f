"""What dashboards are made of: rows, panels, queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLink,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef("prometheus", "${source}")
MODEL = 'model_name=~"$model"'
CLIENTS = f'{MODEL}, transport!="shadow"'
VERSION = "{{model_name}} {{model_version}}"
BY_VERSION = "sum by (model_name, model_version)"

Unit = Literal["s", "reqps", "short", "percentunit", "percent", "bytes", "none", "ops"]
Panel = stat.Panel | timeseries.Panel | heatmap.Panel | bargauge.Panel | table.Panel


@dataclass(frozen=True)
class Query:
    """What a line of a panel shows, and what it is called."""

    expr: str
    legend: str = VERSION


def new_dashboard(name: str, title: str, description: str) -> dashboard.Dashboard:
    """Give an empty dashboard with the choice of source and models, and links to the others."""
    links = DashboardLink(
        title="Marina", type_val=DashboardLinkType.DASHBOARDS, tags=["marina"], as_dropdown=False,
        include_vars=True, keep_time=True,
    )  # fmt: skip
    source = dashboard.DatasourceVariable("source").label("source").type("prometheus")
    models = (
        dashboard.QueryVariable("model")
        .label("model")
        .datasource(SOURCE)
        .query("label_values(marina_model_info, model_name)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
        .multi(True)
    )
    return (
        dashboard.Dashboard(title)
        .uid(f"marina-{name}")
        .description(description)
        .tags(["marina"])
        .links([_Built(links)])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(source)
        .with_variable(models)
    )


class _Built:
    """Something that is built already, where the library asks for its builder."""

    def __init__(self, built: object):
        self._built = built

    def build(self) -> object:
        return self._built


def add_row(made: dashboard.Dashboard, title: str, *panels: Panel) -> None:
    """Add a row with panels."""
    made.with_row(dashboard.Row(title))
    for panel in panels:
        made.with_panel(panel)


def number(
    title: str,
    unit: Unit,
    expr: str,
    *,
    bad_from: float | None = None,
    good_is_one: bool = False,
) -> stat.Panel:
    """Give a panel of one number."""
    panel = stat.Panel().title(title).unit(unit).datasource(SOURCE).height(4).span(4)
    steps = [Threshold(value=None, color="green")]
    if good_is_one:
        steps = [Threshold(value=None, color="red"), Threshold(value=1, color="green")]
    elif bad_from is not None:
        steps.append(Threshold(value=bad_from, color="red"))
    rule = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return panel.thresholds(rule).with_target(_target(Query(expr, ""), 0))


def lines(title: str, unit: Unit, *queries: Query, is_stacked: bool = False) -> timeseries.Panel:
    """Give a panel of lines over time."""
    panel = timeseries.Panel().title(title).unit(unit).datasource(SOURCE).height(8).span(12).min(0)
    if is_stacked:
        stacking = common.StackingConfig().mode(StackingMode.NORMAL)
        panel.fill_opacity(30).stacking(stacking)
    for place, query in enumerate(queries):
        panel.with_target(_target(query, place))
    return panel


def heat(title: str, expr: str, unit: Unit = "s") -> heatmap.Panel:
    """Give a panel of a histogram over time."""
    panel = heatmap.Panel().title(title).datasource(SOURCE).height(8).span(12).unit(unit)
    return panel.with_target(_target(Query(expr, "{{le}}"), 0).format(PromQueryFormat.HEATMAP))


def bars(title: str, expr: str, legend: str) -> bargauge.Panel:
    """Give a panel of bars, as they are now."""
    panel = bargauge.Panel().title(title).unit("percentunit").datasource(SOURCE).height(8).span(12)
    return panel.with_target(_target(Query(expr, legend), 0).instant())


def rows(title: str, expr: str) -> table.Panel:
    """Give a table of what is now."""
    panel = table.Panel().title(title).datasource(SOURCE).height(6).span(24)
    return panel.with_target(_target(Query(expr, ""), 0).instant().format(PromQueryFormat.TABLE))


def _target(query: Query, place: int) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).datasource(SOURCE).ref_id(chr(ord("A") + place))
    return made.legend_format(query.legend) if query.legend else made


def quantile(
    level: float,
    stage: str,
    labels: str,
    by: tuple[str, ...] = ("model_name", "model_version"),
) -> str:
    """Give the query of a histogram's quantile."""
    names = ", ".join((*by, "le"))
    rate = f"rate(marina_{stage}_seconds_bucket{{{labels}}}[5m])"
    return f"histogram_quantile({level}, sum by ({names}) ({rate}))"


def mean(stage: str) -> str:
    """Give the query of a histogram's mean."""
    rates = (
        f"sum(rate(marina_{stage}_seconds_{each}{{{MODEL}}}[5m]))" for each in ("sum", "count")
    )
    return " / ".join(rates)
