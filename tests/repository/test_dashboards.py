"""deploy/grafana: every dashboard is one that Grafana reads, and every panel asks for what exists."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.pages import DASHBOARDS
from tests.repository.files import ROOT
from tests.repository.promql import METRICS, RECORDED, described, expression, metric_of, problem, selectors

PATHS = [ROOT / path for path in DASHBOARDS]


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in read(path)["panels"] if panel["type"] != "row"]


def queries(path: Path) -> Iterator[tuple[str, str, str]]:
    """Title, query and legend of every panel and annotation."""
    document = read(path)
    for panel in panels(path):
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target.get("legendFormat", "")
    for annotation in document["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], annotation["titleFormat"]


every_dashboard = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@every_dashboard
def test_every_query_asks_for_what_exists_and_every_legend_for_what_it_keeps(path: Path) -> None:
    variables = {name["name"]: ".*" for name in read(path)["templating"]["list"]}
    found = {
        title: wrong
        for title, query, legend in queries(path)
        if (wrong := problem(query, legend, **variables)) is not None
    }
    assert not found, described(found)


@pytest.mark.parametrize(
    ("query", "legend"),
    [
        ("rate(sightline_records_gone_total[5m])", ""),
        ('sightline_waiting_for_dependency{partition="1"}', ""),
        ("sum by (topic) (sightline_waiting_for_dependency)", ""),
        ("sum by (stage) (sightline_waiting_for_dependency)", "{{dependency}}"),
        ("rate(sightline_waiting_for_dependency[5m])", ""),
        ("sightline_phase_seconds", ""),
        ("sightline_records_received_total_bucket", ""),
        ("histogram_quantile(0.9, sum by (stage) (rate(sightline_phase_seconds_bucket[5m])))", ""),
        ("sum by (stage) (sightline_batches_in_flight) / sum(sightline_batches_in_flight)", ""),
        ("sightline_batches_in_flight and on (topic) sightline_kafka_consumer_stalled", ""),
        ("stage:sightline_records_received:rate5m{reason='x'}", ""),
        ("stage:sightline_records_gone:rate5m", ""),
    ],
)
def test_the_check_sees_what_can_never_answer(query: str, legend: str) -> None:
    assert problem(query, legend)


def test_every_metric_is_shown_somewhere() -> None:
    texts = [query for path in PATHS for _, query, _ in queries(path)] + list(RECORDED.values())
    asked = {metric_of(selector.name) for text in texts for selector in selectors(expression(text))}
    assert not sorted(metric.name for metric in METRICS.values() if metric not in asked)


@every_dashboard
def test_every_panel_says_what_it_tells_in_a_unit_and_asks_the_chosen_prometheus(path: Path) -> None:
    for panel in panels(path):
        title = panel["title"]
        assert title
        assert len(panel["description"].split()) >= 4, title
        assert panel["description"].endswith((".", "`.")), title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["targets"], title
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), title
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title


@every_dashboard
def test_series_that_stand_side_by_side_have_names_that_tell_them_apart(path: Path) -> None:
    for panel in panels(path):
        if panel["type"] == "timeseries":
            legends = [target["legendFormat"] for target in panel["targets"]]
            assert len(set(legends)) == len(legends), panel["title"]


@every_dashboard
def test_thresholds_rise_from_a_base_without_a_value(path: Path) -> None:
    for panel in panels(path):
        base, *steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert base["value"] is None, panel["title"]
        values = [step["value"] for step in steps]
        assert values == sorted(values), panel["title"]


@every_dashboard
def test_panels_have_their_own_numbers_and_titles_and_do_not_overlap(path: Path) -> None:
    everything = read(path)["panels"]
    assert [panel["id"] for panel in everything] == list(range(1, len(everything) + 1))
    cells: dict[tuple[int, int], int] = {}
    for panel in everything:
        place = panel["gridPos"]
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert cells.setdefault((x, y), panel["id"]) == panel["id"], panel["title"]
    # A row's heading spans the dashboard, and so do its panels: no holes to the right of them.
    lines: dict[int, int] = {}
    for panel in everything:
        lines[panel["gridPos"]["y"]] = lines.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
    assert set(lines.values()) == {24}


def test_every_dashboard_keeps_its_address_and_fits_into_a_config_map() -> None:
    assert [read(path)["uid"] for path in PATHS] == [
        "sightline-flow",
        "sightline-embedder",
        "sightline-search",
        "sightline-truth",
    ]
    for path in PATHS:
        assert path.stat().st_size < 2**20
        document = read(path)
        assert document["schemaVersion"] >= 36, "older ones are changed by Grafana when it loads them"
        assert document["templating"]["list"][0]["type"] == "datasource"
        assert "sightline" in document["tags"]
        # The links at the top lead to every dashboard with this tag.
        assert document["links"][0]["tags"] == ["sightline"]


@every_dashboard
def test_every_variable_that_a_query_uses_is_one_to_choose(path: Path) -> None:
    chosen = {variable["name"] for variable in read(path)["templating"]["list"]} | {"__rate_interval"}
    for title, query, _ in queries(path):
        used = {part.split("[")[0].strip('"})].,') for part in query.split("$")[1:]}
        assert {name.split('"')[0].split("]")[0] for name in used} <= chosen, title


def test_grafana_finds_the_dashboards_where_compose_and_kubernetes_put_them() -> None:
    folder = ROOT / "deploy" / "grafana"
    provider = yaml.safe_load((folder / "provisioning" / "dashboards" / "sightline.yaml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    mounted = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    (place,) = provider["providers"]
    assert mounted["./grafana/dashboards"] == place["options"]["path"]
    assert place["folder"] == "Sightline"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    maps = kustomization["configMapGenerator"]
    assert {file for one in maps for file in one["files"]} == {f"dashboards/{path.name}" for path in PATHS}
    assert all(len(one["files"]) == 1 for one in maps), "one map holds 1 MiB"
    assert kustomization["generatorOptions"]["labels"] == {"grafana_dashboard": "1"}
    assert kustomization["generatorOptions"]["annotations"] == {"grafana_folder": "Sightline"}
