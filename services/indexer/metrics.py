"""The indexer's own metrics: what was written, what came too late to be, and how long after the upload."""

from enum import StrEnum

from prometheus_client import CollectorRegistry

from runtime.metrics import Metric, MetricKind
from runtime.observation_settings import FreshnessSettings
from schemas.collection import Status

FRESHNESS_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 60, 120, 300, 900)
"""Seconds, close around the objective: a quantile is interpolated within its bucket."""


class Kept(StrEnum):
    """Whether the objective was kept for one change."""

    IN_TIME = "in_time"
    LATE = "late"


WRITTEN = Metric(
    name="sightline_points_written_total",
    kind=MetricKind.COUNTER,
    labels=("status",),
    sentence="Points offered to the index by status (indexed, gone, rejected); a stored higher version is kept.",
)
STALE = Metric(
    name="sightline_points_stale_total",
    kind=MetricKind.COUNTER,
    labels=("status",),
    sentence="Points that were dropped, since the index holds a higher version, by the status that they had. Some are "
    "usual when an object changes twice at once; many mean that old records are read again, or two embedders "
    "see one object.",
)
FRESHNESS = Metric(
    name="sightline_freshness_seconds",
    kind=MetricKind.HISTOGRAM,
    buckets=FRESHNESS_BUCKETS,
    sentence="Seconds from the change in the store (its own time, where the hint tells it) to searchable, as the index "
    "confirmed: the SLO. A change is counted once, however often it is told.",
)
SEARCHABLE = Metric(
    name="sightline_searchable_total",
    kind=MetricKind.COUNTER,
    labels=("kept",),
    sentence="Changes that became searchable in_time or late, against `sightline_freshness_objective_seconds`; counted "
    "one by one, so the share in time is exact and the error budget follows from it.",
)
OBJECTIVE_SECONDS = Metric(
    name="sightline_freshness_objective_seconds",
    kind=MetricKind.GAUGE,
    sentence="A change is in time if it is searchable within so many seconds; SIGHTLINE_FRESHNESS__OBJECTIVE_SECONDS.",
)
OBJECTIVE_RATIO = Metric(
    name="sightline_freshness_objective_ratio",
    kind=MetricKind.GAUGE,
    sentence="The share of changes that is to be in time; SIGHTLINE_FRESHNESS__OBJECTIVE_RATIO. One less this is the "
    "error budget.",
)


class IndexerMetrics:
    """The indexer's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry, objective: FreshnessSettings | None = None) -> None:
        objective = objective or FreshnessSettings()
        self.written = WRITTEN.counter(registry)
        self.stale = STALE.counter(registry)
        self._freshness = FRESHNESS.histogram(registry)
        self._searchable = SEARCHABLE.counter(registry)
        # A ratio needs both its parts from the beginning, and a rate the zero before the first.
        for kept in Kept:
            self._searchable.labels(kept.value)
        for status in Status:
            self.stale.labels(status.value)
        self._within = objective.objective_seconds
        OBJECTIVE_SECONDS.gauge(registry).set(objective.objective_seconds)
        OBJECTIVE_RATIO.gauge(registry).set(objective.objective_ratio)

    def searchable(self, seconds: float) -> None:
        """A change became searchable so many seconds after it."""
        self._freshness.observe(seconds)
        self._searchable.labels((Kept.IN_TIME if seconds <= self._within else Kept.LATE).value).inc()
