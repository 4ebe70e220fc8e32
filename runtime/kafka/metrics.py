"""What an operator sees of Kafka that the stage's own metrics do not show."""

from dataclasses import dataclass
from enum import StrEnum

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry

from runtime.backlog import CLEARS
from runtime.metrics import Metric, MetricKind


class RebalanceKind(StrEnum):
    """The two halves of a rebalance."""

    REVOKED = "revoked"
    ASSIGNED = "assigned"


class CommitFailure(StrEnum):
    """Why offsets were not committed."""

    TIMEOUT = "timeout"
    """No answer within the deadline; the commit is tried again."""
    UNAVAILABLE = "unavailable"
    """The coordinator answered with an error that passes; the commit is tried again."""
    REVOKED = "revoked"
    """The partitions belong to someone else by now; the records are delivered again."""


class FetchFailure(StrEnum):
    """Why records did not come."""

    BROKER = "broker"
    """An error that passes by itself: a broker away, a leader moving."""
    DENIED = "denied"
    """Wrong credentials or missing rights: the process stops."""
    CODEC = "codec"
    """Records compressed with a codec that is not installed: the process stops."""
    UNREADABLE = "unreadable"
    """A record that breaks Kafka's own format; it becomes a dead letter without its bytes."""


LAG_RECORDS = Metric(
    name="sightline_kafka_lag_records",
    kind=MetricKind.GAUGE,
    labels=("topic", "partition"),
    sentence="Records on a partition that are not yet committed by this group; growing means add consumers.",
)
LAG_SECONDS = Metric(
    name="sightline_kafka_lag_seconds",
    kind=MetricKind.GAUGE,
    labels=("topic", "partition"),
    sentence="Age of the oldest uncommitted record of a partition: how far behind its index is.",
)
COMMITTED = Metric(
    name="sightline_kafka_committed_offset",
    kind=MetricKind.GAUGE,
    labels=("topic", "partition"),
    sentence="The offset up to which this group has committed a partition; where it stands still while the end offset "
    "grows, a batch is stuck, and where it falls, records are read again.",
)
END = Metric(
    name="sightline_kafka_end_offset",
    kind=MetricKind.GAUGE,
    labels=("topic", "partition"),
    sentence="The offset of the next record on a partition; its rate is what arrives.",
)
EXPIRED = Metric(
    name="sightline_kafka_expired_records_total",
    kind=MetricKind.COUNTER,
    labels=("topic",),
    sentence="Records that retention deleted before they were consumed; run `sightline reconcile` to repair.",
)
ASSIGNED = Metric(
    name="sightline_kafka_assigned_partitions",
    kind=MetricKind.GAUGE,
    labels=("topic",),
    sentence="Partitions that this process consumes; 0 for long means more consumers than partitions.",
)
REBALANCES = Metric(
    name="sightline_kafka_rebalances_total",
    kind=MetricKind.COUNTER,
    labels=("topic", "kind"),
    sentence="Times that the consumers of this process, each by itself, lost or got partitions; without end it means "
    "that members are evicted.",
)
COMMIT_FAILURES = Metric(
    name="sightline_kafka_commit_failures_total",
    kind=MetricKind.COUNTER,
    labels=("topic", "kind"),
    sentence="Commits that failed, by kind; the records of a revoked batch are delivered again.",
)
LAST_COMMIT = Metric(
    name="sightline_kafka_last_commit_timestamp_seconds",
    kind=MetricKind.GAUGE,
    labels=("topic",),
    sentence="Unix time of the last committed batch; old while lag is above zero means a stall.",
)
FETCH_FAILURES = Metric(
    name="sightline_kafka_fetch_failures_total",
    kind=MetricKind.COUNTER,
    labels=("topic", "kind"),
    sentence="Fetches that failed, by kind; `denied` and `codec` stop the process, `broker` passes by itself.",
)
STALLED = Metric(
    name="sightline_kafka_consumer_stalled",
    kind=MetricKind.GAUGE,
    labels=("topic",),
    sentence="1 while the last fetch failed, so that nothing is consumed; look at the broker and the log.",
)


@dataclass(frozen=True)
class KafkaMetrics:
    """Kafka's metrics in one registry, shared by all the consumers of a process."""

    lag_records: prometheus.Gauge
    lag_seconds: prometheus.Gauge
    committed_offset: prometheus.Gauge
    end_offset: prometheus.Gauge
    backlog_clears: prometheus.Gauge
    expired: prometheus.Counter
    assigned: prometheus.Gauge
    rebalances: prometheus.Counter
    commit_failures: prometheus.Counter
    last_commit: prometheus.Gauge
    fetch_failures: prometheus.Counter
    stalled: prometheus.Gauge

    @classmethod
    def make(cls, registry: CollectorRegistry) -> "KafkaMetrics":
        """Register Kafka's metrics."""
        return cls(
            lag_records=LAG_RECORDS.gauge(registry),
            lag_seconds=LAG_SECONDS.gauge(registry),
            committed_offset=COMMITTED.gauge(registry),
            end_offset=END.gauge(registry),
            backlog_clears=CLEARS.gauge(registry),
            expired=EXPIRED.counter(registry),
            assigned=ASSIGNED.gauge(registry),
            rebalances=REBALANCES.counter(registry),
            commit_failures=COMMIT_FAILURES.counter(registry),
            last_commit=LAST_COMMIT.gauge(registry),
            fetch_failures=FETCH_FAILURES.counter(registry),
            stalled=STALLED.gauge(registry),
        )

    def expect(self, topic: str) -> None:
        """Show a topic's counters at 0 from the start: no rate sees the first count of a series that begins with it."""
        self.expired.labels(topic)
        self.stalled.labels(topic)
        for change in RebalanceKind:
            self.rebalances.labels(topic, change.value)
        for commit in CommitFailure:
            self.commit_failures.labels(topic, commit.value)
        for fetch in FetchFailure:
            self.fetch_failures.labels(topic, fetch.value)
