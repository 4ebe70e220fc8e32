"""deploy/grafana: every metric and every label that a panel asks for exists."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from docs.metric_table import declared_metrics
from runtime.metrics import Metric, MetricKind
from tests.repository.files import ROOT

PATH = ROOT / "deploy" / "grafana" / "sightline.json"
DASHBOARD: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
METRICS = {metric.name: metric for metric in declared_metrics()}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SUFFIXES = ("_bucket", "_sum", "_count")


def expressions() -> Iterator[tuple[str, str, str]]:
    """Title, PromQL and legend of every query."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], annotation["titleFormat"]


def series(expression: str) -> list[tuple[str, str]]:
    """Every series that an expression names, each with its selector."""
    return re.findall(r"(sightline_\w+)(?:\{([^}]*)\})?", expression)


def metric_of(name: str) -> Metric | None:
    """The declared metric that a series belongs to; a histogram is asked for by its parts only."""
    for suffix in SUFFIXES:
        parent = METRICS.get(name.removesuffix(suffix))
        if name.endswith(suffix) and parent is not None and parent.kind is MetricKind.HISTOGRAM:
            return parent
    exact = METRICS.get(name)
    return exact if exact is not None and exact.kind is not MetricKind.HISTOGRAM else None


def problems(expression: str, legend: str) -> list[str]:
    """What is wrong with a query, as sentences."""
    wrong: list[str] = []
    labels: list[set[str]] = []
    for name, selector in series(expression):
        metric = metric_of(name)
        if metric is None:
            wrong.append(f"there is no series {name}")
            continue
        has = {*metric.labels, *({"le"} if name.endswith("_bucket") else set())}
        labels.append(has)
        wrong += [
            f"{name} has no label {label}"
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)
            if label not in has
        ]
    known = set.intersection(*labels) if labels else set()
    grouped = [{label.strip() for label in group.split(",")} for group in re.findall(r"\bby\s*\(([^)]*)\)", expression)]
    for group in grouped:
        wrong += [f"no series here has a label {label}" for label in group - known]
    kept = set.union(*grouped) if grouped else known
    wrong += [
        f"the legend shows {label}, which the query drops"
        for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", legend)
        if label not in kept
    ]
    for name in re.findall(r"\b(?:rate|increase)\((sightline_\w+)", expression):
        metric = metric_of(name)
        if metric is not None and metric.kind is MetricKind.GAUGE:
            wrong.append(f"{name} is a gauge, and only counters have a rate")
    return wrong


@pytest.mark.parametrize(("title", "expression", "legend"), list(expressions()))
def test_every_query_asks_for_what_exists(title: str, expression: str, legend: str) -> None:
    assert series(expression), f"{title} asks for no metric of ours"
    assert not problems(expression, legend), title
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize(
    ("expression", "legend"),
    [
        ("rate(sightline_records_gone_total[5m])", ""),
        ('sightline_waiting_for_dependency{partition="1"}', ""),
        ("sum by (topic) (sightline_waiting_for_dependency)", ""),
        ("sum by (stage) (sightline_waiting_for_dependency)", "{{dependency}}"),
        ("rate(sightline_waiting_for_dependency[5m])", ""),
        ("sightline_phase_seconds", ""),
        ("sightline_records_received_total_bucket", ""),
    ],
)
def test_the_check_sees_what_does_not_exist(expression: str, legend: str) -> None:
    assert problems(expression, legend)


@pytest.mark.parametrize(
    "metric",
    [
        "sightline_records_finished_total",
        "sightline_kafka_lag_records",
        "sightline_kafka_lag_seconds",
        "sightline_phase_seconds",
        "sightline_event_age_seconds",
        "sightline_records_rejected_total",
        "sightline_waiting_for_dependency",
        "sightline_batch_records",
        "sightline_freshness_seconds",
    ],
)
def test_the_dashboard_answers_the_operators_first_questions(metric: str) -> None:
    shown = {
        found.name for _, expression, _ in expressions() for name, _ in series(expression) if (found := metric_of(name))
    }
    assert metric in shown


def test_lag_is_shown_for_each_partition_and_dead_letters_by_reason() -> None:
    queries = [expression for _, expression, _ in expressions()]
    for metric, label in (("lag_records", "partition"), ("lag_seconds", "partition"), ("rejected_total", "reason")):
        assert any(metric in query and re.search(rf"by \([^)]*{label}", query) for query in queries)


def test_every_panel_says_what_it_tells_and_asks_the_chosen_prometheus() -> None:
    for panel in PANELS:
        assert len(panel["description"].split()) >= 3, panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"


def test_panels_have_their_own_ids_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert cells.setdefault((x, y), panel["title"]) == panel["title"]


def test_the_dashboard_keeps_its_address_and_fits_into_a_config_map() -> None:
    assert DASHBOARD["uid"] == "sightline"
    assert PATH.stat().st_size < 2**20


def test_grafana_finds_the_dashboard_where_compose_puts_it() -> None:
    provider = yaml.safe_load(
        (PATH.parent / "provisioning" / "dashboards" / "sightline.yaml").read_text(encoding="utf-8")
    )
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert f"{provider['providers'][0]['options']['path']}/sightline.json" in mounted
