"""A dashboard as the JSON that Grafana loads.

The model is Grafana's: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/.
Every query asks the Prometheus that the variable `datasource` names, so that one file serves every installation.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from deploy.grafana.panels import COLUMNS, Dashboard, Kind, Panel, Row, Variable

SCHEMA_VERSION = 41
"""Of Grafana 12; later releases read it and bring it up to date in memory."""

_PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}


def text_of(dashboard: Dashboard) -> str:
    """The file's contents, the same for the same dashboard."""
    return json.dumps(document_of(dashboard), indent=1, ensure_ascii=False) + "\n"


def document_of(dashboard: Dashboard) -> dict[str, Any]:
    """The document, with panels numbered and placed."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.tells,
        "tags": ["sightline"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        # 0: no crosshair, 1: one crosshair for all panels, 2: one tooltip too.
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [_other_dashboards()],
        "templating": {"list": [_datasource(), *map(_choice, dashboard.variables)]},
        "annotations": {"list": _annotations()},
        "panels": list(_placed(dashboard.rows)),
    }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in rows:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        number, top, left, lowest = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top, lowest = 0, top + lowest, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": number, **_panel(panel), "gridPos": place}
            number, left, lowest = number + 1, left + panel.width, max(lowest, panel.height)
        top += lowest


def _panel(panel: Panel) -> dict[str, Any]:
    document = {
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.tells,
        "datasource": _PROMETHEUS,
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _PROMETHEUS, "expr": query.expr, **_asked(panel)}
            | ({"legendFormat": query.legend} if query.legend else {})
            for place, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }
    if panel.kind is Kind.TABLE:
        document["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return document


def _asked(panel: Panel) -> dict[str, Any]:
    shape = {Kind.HEATMAP: "heatmap", Kind.TABLE: "table"}.get(panel.kind, "time_series")
    instant = panel.kind is Kind.TABLE
    return {"format": shape, "range": not instant, "instant": instant}


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": panel.below.value, "value": None}]
    steps += [{"color": colour.value, "value": value} for value, colour in panel.steps]
    defaults: dict[str, Any] = {"unit": panel.unit.value, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind is Kind.GRAPH:
        defaults |= {
            "min": 0,
            "custom": {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 30 if panel.stacked else 10,
                "showPoints": "never",
                "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            },
        }
    if panel.most is not None:
        # A share that passes its natural end must still be seen.
        defaults["custom"] = defaults.get("custom", {}) | {"axisSoftMax": panel.most}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    match panel.kind:
        case Kind.GRAPH:
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case Kind.NUMBER:
            return {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "background" if panel.steps else "value",
                "graphMode": "area",
                "textMode": "auto",
            }
        case Kind.HEATMAP:
            return {
                "calculate": False,
                "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                # Grafana reads the unit of the buckets here, not among the defaults of the fields.
                "yAxis": {"axisPlacement": "left", "unit": panel.unit.value},
                "rowsFrame": {"layout": "auto"},
                "filterValues": {"le": 1e-9},
                "legend": {"show": True},
                "tooltip": {"mode": "single", "yHistogram": False},
            }
        case Kind.TABLE:
            return {"showHeader": True, "cellHeight": "sm"}


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def _choice(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.name})"
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": _PROMETHEUS,
        "query": {"query": query, "refId": variable.name},
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        # 2: whenever the time range changes.
        "refresh": 2,
        "sort": 1,
    }


def _annotations() -> list[dict[str, Any]]:
    return [
        {
            "name": "Releases",
            "datasource": _PROMETHEUS,
            "enable": True,
            "iconColor": "blue",
            "expr": "count by (release) (sightline_build_info) "
            "unless count by (release) (sightline_build_info offset 2m)",
            "titleFormat": "Release {{release}}",
        },
        {
            "name": "Alerts",
            "datasource": _PROMETHEUS,
            "enable": True,
            "iconColor": "red",
            "expr": 'count by (alertname, severity) (ALERTS{alertname=~"Sightline.*", alertstate="firing"})',
            "titleFormat": "{{alertname}}",
            "textFormat": "{{severity}}",
        },
    ]


def _other_dashboards() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Sightline",
        "tags": ["sightline"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
    }
