"""Write Grafana's dashboards: ``python scripts/dashboards/run.py docker/grafana/dashboards``.

They show what docs/metrics.md describes, and what docker/prometheus/rules records of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from panels import (
    BY_VERSION,
    CLIENTS,
    MODEL,
    VERSION,
    Query,
    add_row,
    bars,
    heat,
    lines,
    mean,
    new_dashboard,
    number,
    quantile,
    rows,
)

FAILED = "server_fault|unavailable|timeout|out_of_memory"
STAGES = ("decode", "preprocess", "inference", "explanation", "postprocess")


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in (("overview", overview), ("rollout", rollout), ("worker", worker)):
        text = JSONEncoder(sort_keys=True, indent=2).encode(build().build())
        (folder / f"{name}.json").write_text(f"{text}\n")


def overview() -> Dashboard:
    """Give what tells whether all is well."""
    made = new_dashboard("overview", "Marina", "Is it well, and what is asked of it?")
    add_row(
        made,
        "At a glance",
        number("ready", "none", "min(marina_ready)", good_is_one=True),
        number("requests/s", "reqps", f"sum(rate(marina_answers_total{{{CLIENTS}}}[1m]))"),
        number(
            "failed",
            "percentunit",
            f'sum(rate(marina_answers_total{{{CLIENTS}, kind=~"{FAILED}"}}[5m]))'
            f" / sum(rate(marina_answers_total{{{CLIENTS}}}[5m]))",
            bad_from=0.01,
        ),
        number("p99", "s", quantile(0.99, "request", CLIENTS, ()), bad_from=1),
        number("workers ready", "none", f"sum(marina_workers_ready{{{MODEL}}})"),
        number("waiting", "none", f"sum(marina_queue_length{{{MODEL}}})", bad_from=50),
    )
    add_row(
        made,
        "Requests",
        lines(
            "requests/s by version",
            "reqps",
            Query(f"{BY_VERSION} (rate(marina_answers_total{{{CLIENTS}}}[1m]))"),
        ),
        lines(
            "answers/s by kind",
            "reqps",
            Query(f"sum by (kind) (rate(marina_answers_total{{{CLIENTS}}}[1m]))", "{{kind}}"),
            is_stacked=True,
        ),
        lines(
            "latency",
            "s",
            Query(f"model_version:marina_request_seconds:p50_5m{{{MODEL}}}", f"p50 {VERSION}"),
            Query(f"model_version:marina_request_seconds:p99_5m{{{MODEL}}}", f"p99 {VERSION}"),
        ),
        lines(
            "requests/s by transport",
            "reqps",
            Query(
                f"sum by (transport) (rate(marina_answers_total{{{MODEL}}}[1m]))", "{{transport}}"
            ),
        ),
    )
    add_row(
        made,
        "What is served",
        rows(
            "archives",
            f"max by (model_name, model_version, is_default, accuracy, sha256)"
            f" (marina_model_info{{{MODEL}}})",
        ),
        rows("alerts", 'ALERTS{alertstate="firing"}'),
    )
    return made


def rollout() -> Dashboard:
    """Give what compares the arms of a split."""
    made = new_dashboard("rollout", "Marina: arms", "Is the candidate as good as the default?")
    default = 'and on (model_name, model_version) marina_model_info{is_default="true"}'
    p99 = f"model_version:marina_request_seconds:p99_5m{{{MODEL}}}"
    add_row(
        made,
        "The split",
        lines(
            "declared share",
            "percent",
            Query(
                f"max by (model_name, model_version, kind) (marina_split_percent{{{MODEL}}})",
                f"{VERSION} {{{{kind}}}}",
            ),
        ),
        lines(
            "share of requests",
            "percentunit",
            Query(
                f"model_version:marina_answers:rate5m{{{MODEL}}} / on (model_name) group_left ()"
                f" (sum by (model_name) (model_version:marina_answers:rate5m{{{MODEL}}}) > 0)"
            ),
        ),
        lines(
            "copies/s that a shadow answers",
            "reqps",
            Query(f'{BY_VERSION} (rate(marina_answers_total{{{MODEL}, transport="shadow"}}[1m]))'),
        ),
    )
    add_row(
        made,
        "Latency and failures by arm",
        lines("p50", "s", Query(f"model_version:marina_request_seconds:p50_5m{{{MODEL}}}")),
        lines("p99", "s", Query(p99)),
        lines(
            "p99 as a multiple of the default's",
            "short",
            Query(f"{p99} / on (model_name) group_left () ({p99} {default})"),
        ),
        lines(
            "failed",
            "percentunit",
            Query(f"model_version:marina_answers:failed_ratio5m{{{MODEL}}}"),
        ),
        heat(
            "latency of all arms",
            f"sum by (le) (rate(marina_request_seconds_bucket{{{CLIENTS}}}[1m]))",
        ),
    )
    add_row(
        made,
        "What the arms answer",
        lines(
            "mean confidence over an hour",
            "percentunit",
            Query(f"model_version:marina_confidence:mean1h{{{MODEL}}}"),
        ),
        lines(
            "shift of the classes against the day",
            "percentunit",
            Query(f"model_version:marina_predictions:shift1h{{{MODEL}}}"),
        ),
        bars(
            "classes over an hour",
            f"topk(20, model_version_label:marina_predictions:share1h{{{MODEL}}})",
            "{{label}} by {{model_version}}",
        ),
    )
    return made


def worker() -> Dashboard:
    """Give what tells where the time goes, and how the machine fares."""
    made = new_dashboard("worker", "Marina: inside", "Where does a request's time go?")
    add_row(
        made,
        "Stages",
        lines(
            "mean of each stage",
            "s",
            Query(mean("queue"), "queue"),
            *(Query(mean(stage), stage) for stage in STAGES),
            is_stacked=True,
        ),
        lines(
            "p99 of each stage",
            "s",
            *(Query(quantile(0.99, stage, MODEL, ()), stage) for stage in STAGES),
        ),
        lines(
            "p99 of the queue", "s", Query(f"model_version:marina_queue_seconds:p99_5m{{{MODEL}}}")
        ),
        lines("p99 of a worker's answer", "s", Query(quantile(0.99, "backend", MODEL))),
    )
    add_row(
        made,
        "Batches and workers",
        lines(
            "mean batch, and the largest allowed",
            "short",
            Query(f"model_version:marina_batch_size:mean5m{{{MODEL}}}"),
            Query(f"marina_batch_size_limit{{{MODEL}}}", f"limit {VERSION}"),
        ),
        heat(
            "sizes of batches",
            f"sum by (le) (rate(marina_batch_size_bucket{{{MODEL}}}[1m]))",
            "none",
        ),
        lines("waiting requests", "short", Query(f"marina_queue_length{{{MODEL}}}")),
        lines(
            "workers",
            "short",
            *(
                Query(f"marina_workers_{state}{{{MODEL}}}", f"{state.replace('_', ' ')} {VERSION}")
                for state in ("wanted", "ready", "busy", "given_up")
            ),
        ),
        lines(
            "restarts and repairs in 10 minutes",
            "short",
            Query(f"increase(marina_worker_restarts_total{{{MODEL}}}[10m])", f"worker {VERSION}"),
            Query("increase(marina_repairs_total[10m])", "repair of {{part}}"),
        ),
        lines(
            "refused by the handler",
            "reqps",
            Query(
                f"sum by (status) (rate(marina_request_errors_total{{{MODEL}}}[1m]))", "{{status}}"
            ),
        ),
    )
    add_row(
        made,
        "The machine and the gateway",
        lines(
            "host",
            "percent",
            *(Query(f"{name}Utilization", name) for name in ("CPU", "Memory", "Disk")),
        ),
        lines("Marina's own memory", "bytes", Query("process_resident_memory_bytes", "supervisor")),
        lines(
            "requests at TorchServe",
            "short",
            Query(
                'envoy_cluster_upstream_rq_active{envoy_cluster_name=~"rest|grpc"}',
                "{{envoy_cluster_name}}",
            ),
        ),
        lines(
            "connections of clients",
            "short",
            Query(
                'envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix=~"rest|grpc"}',
                "{{envoy_http_conn_manager_prefix}}",
            ),
        ),
    )
    return made


if __name__ == "__main__":
    main()
