"""The dashboard "Search": what people ask, how long they wait, what fails and what is refused."""

from deploy.grafana.panels import (
    SEARCHING,
    Colour,
    Dashboard,
    Panel,
    Query,
    Row,
    Unit,
    Variable,
    event_loops,
    graph,
    heatmap,
    number,
    people,
    quantile,
    rate,
)

ROUTES = '{route=~"$route"}'


def _latency(share: float, tells: str) -> Panel:
    query = quantile(share, "sightline_http_request_seconds", "route", selector=ROUTES)
    return graph(f"p{100 * share:g}", Unit.SECONDS, tells, Query(query, "{{route}}"), width=8)


HEADLINE = Row(
    "Do people find what they ask for?",
    [
        number(
            "Requests a second",
            Unit.REQUESTS,
            "Of people and programs, without the probes.",
            "sightline:http_requests:rate5m",
            decimals=1,
            width=6,
        ),
        number(
            "Share that fails",
            Unit.SHARE,
            "Answered with 5xx. Above 5 % for minutes someone is woken.",
            "sightline:http_errors:ratio_rate5m",
            steps=[(0.01, Colour.LOOK), (0.05, Colour.BAD)],
            decimals=2,
            width=6,
        ),
        number(
            "Search, p95",
            Unit.SECONDS,
            "One search in twenty takes longer. Above a second for minutes someone is woken.",
            'route:sightline_http_request_seconds:p95_rate5m{route="/v1/search"}',
            steps=[(0.5, Colour.LOOK), (1, Colour.BAD)],
            width=6,
        ),
        number(
            "Refused a second",
            Unit.REQUESTS,
            "Keys, rates, a full model queue, or a page of another origin.",
            "sum(rate(sightline_http_refused_total[$__rate_interval]))",
            steps=[(1, Colour.LOOK)],
            decimals=1,
            width=6,
        ),
    ],
)

LATENCY = Row(
    "Latency by route",
    [
        _latency(0.5, "Half of the requests of a route are answered sooner."),
        _latency(
            0.95,
            "One in twenty takes longer. /embed/text asks the model alone, /v1/images the index alone, a search both.",
        ),
        _latency(0.99, "One in a hundred takes longer. An export streams for as long as its reader reads."),
        heatmap(
            "Searches by how long they took",
            Unit.SECONDS,
            "Two bands: words and photos, or searches beside an indexer that writes.",
            "sightline_http_request_seconds",
            selector='{route="/v1/search"}',
            width=24,
        ),
    ],
)

RATES = Row(
    "Rate, errors and refusals",
    [
        graph(
            "Requests by route",
            Unit.REQUESTS,
            "All of them, the probes included where they are chosen above.",
            Query(rate("sightline_http_requests_total", "route", selector=ROUTES), "{{route}}"),
            width=8,
        ),
        graph(
            "Requests by class of status",
            Unit.REQUESTS,
            "4xx is a client's mistake or a refusal, 5xx is ours or behind us.",
            Query(rate("sightline_http_requests_total", "status", selector=ROUTES), "{{status}}"),
            width=8,
            stacked=True,
        ),
        graph(
            "Failures by route",
            Unit.REQUESTS,
            "5xx. All routes: the index is away; originals and thumbnails only: the object store is.",
            Query(people("route", status="5xx"), "{{route}}"),
            width=8,
        ),
        graph(
            "Refusals by reason",
            Unit.REQUESTS,
            "busy, concurrency: add search processes; rate: a client asks a lot; no_key, unknown_key: somebody tries.",
            Query(rate("sightline_http_refused_total", "reason"), "{{reason}}"),
            width=12,
        ),
        graph(
            "Share that fails",
            Unit.SHARE,
            "Of the requests of people and programs, over five minutes.",
            Query("sightline:http_errors:ratio_rate5m", "5xx"),
            width=12,
        ),
    ],
)

PROCESSES = Row(
    "Processes",
    [
        event_loops(
            "Of the processes that search. Near a second: something blocks, and every request waits for it.",
            keep=SEARCHING,
            width=12,
        ),
        graph(
            "Requests by process",
            Unit.REQUESTS,
            "Far apart: the balancer prefers one of them.",
            Query(people("instance"), "{{instance}}"),
            width=12,
        ),
    ],
)

SEARCH = Dashboard(
    uid="sightline-search",
    title="Sightline: Search",
    tells="Latency by route, rate, errors and refusals.",
    rows=[HEADLINE, LATENCY, RATES, PROCESSES],
    variables=[Variable("route", "Route", "sightline_http_requests_total")],
)
