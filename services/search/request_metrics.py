"""Requests by route and class of status, and how long they took. Labels are route templates, never paths."""

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.metrics import Metric, MetricKind

HTTP_REQUESTS = Metric(
    name="sightline_http_requests_total",
    kind=MetricKind.COUNTER,
    labels=("route", "status"),
    sentence="HTTP requests by route and class of status; 5xx means that something here or behind it is broken.",
)
HTTP_SECONDS = Metric(
    name="sightline_http_request_seconds",
    kind=MetricKind.HISTOGRAM,
    labels=("route",),
    sentence="Seconds from a request's arrival to the end of its answer, by route.",
)

UNMATCHED = "(none)"
"""The label of requests for paths that do not exist."""


class RequestMetrics:
    """ASGI middleware that counts and times requests. The routes `shown` are there at 0 from the start."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, shown: Sequence[str] = ()) -> None:
        self._app = app
        self._requests = HTTP_REQUESTS.counter(registry)
        self._seconds = HTTP_SECONDS.histogram(registry)
        for route in shown:
            for status in ("2xx", "4xx", "5xx"):
                self._requests.labels(route, status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; count it whatever becomes of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the client gets when the app raises before it answers

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, observe)
        finally:
            route = getattr(scope.get("route"), "path", UNMATCHED)
            self._requests.labels(route, f"{status // 100}xx").inc()
            self._seconds.labels(route).observe(time.perf_counter() - started)
