"""The dashboards' JSON by Grafana's own schema, as its foundation SDK has it: nothing in it is unknown to Grafana."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard, heatmap, prometheus, stat, table, timeseries, units

from tests.repository.test_dashboards import PATHS, read

PANELS: Mapping[str, Any] = {"timeseries": timeseries, "stat": stat, "heatmap": heatmap, "table": table}
BY_PROMETHEUS = {"titleFormat", "textFormat"}
"""Fields of an annotation that the data source defines, and the schema of dashboards leaves to it."""
UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}


def unknown(kind: Any, written: Any) -> list[str]:
    """Paths of what is lost or changed when Grafana's model reads this and writes it again."""
    again = json.loads(json.dumps(kind.from_json(json.loads(json.dumps(written))), cls=JSONEncoder))
    return list(_lost(written, again, kind.__name__))


def _lost(written: Any, again: Any, path: str) -> Iterator[str]:
    if isinstance(written, dict):
        for name, value in written.items():
            if not isinstance(again, dict) or name not in again:
                yield f"{path}.{name}"
            else:
                yield from _lost(value, again[name], f"{path}.{name}")
    elif isinstance(written, list):
        for place, value in enumerate(written):
            yield from _lost(value, again[place], f"{path}[{place}]")
    elif written != again:
        yield f"{path}: {written!r} was read as {again!r}"


def without(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_grafana_knows_every_field_of_a_dashboard(path: Path) -> None:
    document = read(path)
    lost = unknown(dashboard.Dashboard, without(document, "panels"))
    assert {one.rpartition(".")[2] for one in lost} <= BY_PROMETHEUS, lost


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_grafana_knows_every_field_of_a_panel_its_options_and_its_queries(path: Path) -> None:
    for panel in read(path)["panels"]:
        if panel["type"] == "row":
            assert not unknown(dashboard.RowPanel, panel)
            continue
        kind = PANELS[panel["type"]]
        fields = panel["fieldConfig"]["defaults"]
        lost = unknown(dashboard.Panel, without(panel, "targets", "options", "fieldConfig"))
        lost += unknown(kind.Options, panel["options"])
        lost += unknown(dashboard.FieldConfig, without(fields, "custom"))
        lost += unknown(kind.FieldConfig, fields["custom"]) if "custom" in fields else []
        lost += [one for target in panel["targets"] for one in unknown(prometheus.Dataquery, target)]
        assert not lost, f"{panel['title']}: {lost}"
        assert fields["unit"] in UNITS, panel["title"]


def test_the_check_sees_a_field_that_grafana_does_not_know() -> None:
    assert unknown(stat.Options, {"colourMode": "background"})
    assert unknown(prometheus.Dataquery, {"refId": "A", "query": "up"})
