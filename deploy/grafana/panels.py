"""What a dashboard shows, in the words of its author; `document` turns it into Grafana's JSON.

A panel is its question (`queries`), its answer's unit, and a sentence that tells the operator what to think of it.
Widths are in columns, of which Grafana has 24; heights are in rows of 30 pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

COLUMNS = 24


class Unit(StrEnum):
    """The units in use, by Grafana's names (its documentation calls them standard options)."""

    SECONDS = "s"
    PER_SECOND = "ops"
    REQUESTS = "reqps"
    COUNT = "short"
    SHARE = "percentunit"
    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    DOLLARS = "currencyUSD"


class Kind(StrEnum):
    """The kinds of panel in use, by Grafana's names."""

    GRAPH = "timeseries"
    NUMBER = "stat"
    HEATMAP = "heatmap"
    TABLE = "table"


class Colour(StrEnum):
    """What a threshold says."""

    GOOD = "green"
    LOOK = "orange"
    BAD = "red"


@dataclass(frozen=True)
class Query:
    """One query and the legend of its series; `{{label}}` in a legend is a label that the query keeps."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. `steps` are thresholds: from this value on, this colour; under the first of them, `below`."""

    title: str
    tells: str
    unit: Unit
    queries: Sequence[Query]
    kind: Kind = Kind.GRAPH
    width: int = 6
    height: int = 7
    steps: Sequence[tuple[float, Colour]] = ()
    below: Colour = Colour.GOOD
    stacked: bool = False
    most: float | None = None
    """The end of the axis, where there is a natural one: 1 for shares."""
    decimals: int | None = None


@dataclass(frozen=True)
class Row:
    """A heading with its panels, placed from left to right and on the next line where one is full."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice above the dashboard: the values of a label of a metric, all of them at first."""

    name: str
    label: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One dashboard. `uid` is its address for ever: links and bookmarks hold it."""

    uid: str
    title: str
    tells: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default_factory=tuple)


def graph(title: str, unit: Unit, tells: str, *queries: Query, width: int = 6, stacked: bool = False) -> Panel:
    """A panel over time."""
    most = 1.0 if unit is Unit.SHARE and not stacked else None
    return Panel(title=title, tells=tells, unit=unit, queries=queries, width=width, stacked=stacked, most=most)


def number(
    title: str,
    unit: Unit,
    tells: str,
    expr: str,
    *,
    steps: Sequence[tuple[float, Colour]] = (),
    below: Colour = Colour.GOOD,
    decimals: int | None = None,
    width: int = 4,
) -> Panel:
    """A panel that shows the newest value, large, on the colour that the thresholds give it."""
    return Panel(
        title=title,
        tells=tells,
        unit=unit,
        queries=[Query(expr)],
        kind=Kind.NUMBER,
        width=width,
        height=4,
        steps=steps,
        below=below,
        decimals=decimals,
    )


def heatmap(title: str, unit: Unit, tells: str, histogram: str, *, selector: str = "", width: int = 12) -> Panel:
    """A panel of a histogram over time; `histogram` is the metric's name without `_bucket`."""
    query = Query(f"sum by (le) (increase({histogram}_bucket{selector}[$__rate_interval]))", "{{le}}")
    return Panel(title=title, tells=tells, unit=unit, queries=[query], kind=Kind.HEATMAP, width=width)


def table(title: str, tells: str, expr: str, *, width: int = 12) -> Panel:
    """A panel of labels; the value counts the processes that have them."""
    return Panel(
        title=title, tells=tells, unit=Unit.COUNT, queries=[Query(expr)], kind=Kind.TABLE, width=width, decimals=0
    )


def quantile(share: float, histogram: str, *labels: str, selector: str = "", keep: str = "") -> str:
    """The query of a quantile of a histogram, over the whole fleet or by labels; `keep` narrows it by other series."""
    by = ", ".join(("le", *labels))
    rate = f"rate({histogram}_bucket{selector}[$__rate_interval])"
    return f"histogram_quantile({share:g}, sum by ({by}) ({' '.join(filter(None, (rate, keep)))}))"


def quantiles(histogram: str, *labels: str, selector: str = "") -> tuple[Query, Query]:
    """The middle and the slowest hundredth of a histogram, over the whole fleet or by labels."""
    legend = "".join(f"{{{{{label}}}}} " for label in labels)
    return (
        Query(quantile(0.5, histogram, *labels, selector=selector), f"{legend}p50"),
        Query(quantile(0.99, histogram, *labels, selector=selector), f"{legend}p99"),
    )


def rate(counter: str, *labels: str, selector: str = "") -> str:
    """The query of a counter's rate a second, by labels."""
    inner = f"(rate({counter}{selector}[$__rate_interval]))"
    return f"sum by ({', '.join(labels)}) {inner}" if labels else f"sum{inner}"


SEARCHING = 'and on (job, instance) sightline_http_requests_total{route="/v1/search"}'
"""Keeps the series of processes that search: those that only embed count requests too, and never this route."""


def people(label: str, *, status: str = "") -> str:
    """The query of the requests of people and programs a second, by a label: no probes, and of search alone."""
    chosen = (f'status="{status}", ' if status else "") + 'route!~"/livez|/readyz|/startupz|/metrics|/health"'
    return f"sum by ({label}) (rate(sightline_http_requests_total{{{chosen}}}[$__rate_interval]) {SEARCHING})"


def event_loops(tells: str, *, keep: str = "", width: int) -> Panel:
    """How late the event loops wake, by process; `keep` is which of them."""
    lag = quantile(0.99, "sightline_event_loop_lag_seconds", "instance", keep=keep)
    return graph("Lag of the event loops, p99", Unit.SECONDS, tells, Query(lag, "{{instance}}"), width=width)


def backlog_clears(*, width: int = 6) -> Panel:
    """When the hints that wait are worked off."""
    return graph(
        "The backlog clears in",
        Unit.SECONDS,
        "At the present rate, and with one more embedder. No line means that it grows: more arrives than is done.",
        Query("max by (embedders) (sightline_backlog_clears_seconds)", "{{embedders}}"),
        width=width,
    )


def looks_found(*, width: int = 6) -> Panel:
    """What the embedders saw of the objects that they looked at."""
    return graph(
        "What looks found",
        Unit.PER_SECOND,
        "rejected: complete bytes that are no image we take; missing: proved to be gone; unsettled: still written.",
        Query(rate("sightline_looks_total", "found"), "{{found}}"),
        width=width,
    )


def models_in_use(*, width: int = 12) -> Panel:
    """Which models the processes hold."""
    return table(
        "Models in use",
        "The value counts processes. Several fingerprints of one model and number type: they run different weights.",
        "count by (model, fingerprint, device, dtype) (sightline_model_info)",
        width=width,
    )
