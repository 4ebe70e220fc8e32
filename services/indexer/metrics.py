"""The indexer's own metrics: what was written, and how long after the upload."""

from prometheus_client import CollectorRegistry

from runtime.metrics import SECONDS_BUCKETS, Metric, MetricKind

WRITTEN = Metric(
    name="sightline_points_written_total",
    kind=MetricKind.COUNTER,
    labels=("status",),
    sentence="Points offered to the index by status (indexed, gone, rejected); a stored higher version is kept.",
)
FRESHNESS = Metric(
    name="sightline_freshness_seconds",
    kind=MetricKind.HISTOGRAM,
    buckets=SECONDS_BUCKETS,
    sentence="Seconds from the change in the store (its own time, where the hint tells it) to searchable: the SLO.",
)


class IndexerMetrics:
    """The indexer's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.written = WRITTEN.counter(registry)
        self.freshness = FRESHNESS.histogram(registry)
