"""Metrics as declared objects: name, kind, labels and one sentence for the operator.

The standard set comes from `StageMetrics`, the same for every stage. Label values come from enums
or from names fixed at start, never from data. docs/metrics.md is generated from `Metric.declared()`.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry

from runtime.batch import Received
from runtime.stage import Outcome, Reject

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
COUNT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class MetricKind(StrEnum):
    """The kinds of Prometheus metric in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric as it is declared. `sentence` tells the operator what it means and what to do about it."""

    name: str
    kind: MetricKind
    sentence: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    _declared: ClassVar[dict[str, "Metric"]] = {}

    def __post_init__(self) -> None:
        self._declared[self.name] = self

    @classmethod
    def declared(cls) -> list["Metric"]:
        """Every metric declared by the modules imported so far, by name."""
        return sorted(cls._declared.values(), key=lambda metric: metric.name)

    def counter(self, registry: CollectorRegistry) -> prometheus.Counter:
        """This metric in a registry, as the counter that it is declared to be."""
        self._expect(MetricKind.COUNTER)
        return prometheus.Counter(self.name, self.sentence, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> prometheus.Gauge:
        """This metric in a registry, as the gauge that it is declared to be."""
        self._expect(MetricKind.GAUGE)
        return prometheus.Gauge(self.name, self.sentence, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> prometheus.Histogram:
        """This metric in a registry, as the histogram that it is declared to be."""
        self._expect(MetricKind.HISTOGRAM)
        return prometheus.Histogram(
            self.name, self.sentence, self.labels, registry=registry, buckets=self.buckets or SECONDS_BUCKETS
        )

    def _expect(self, kind: MetricKind) -> None:
        if self.kind is not kind:
            raise TypeError(f"metric {self.name} is declared as a {self.kind}, not as a {kind}")


class Phase(StrEnum):
    """Where a worker's second goes."""

    PROCESS = "process"
    PUBLISH = "publish"
    DEAD_LETTER = "dead_letter"
    COMMIT = "commit"


RECEIVED = Metric(
    name="sightline_records_received_total",
    kind=MetricKind.COUNTER,
    labels=("stage",),
    sentence="Records that reached a stage; with no growth while lag grows, the stage is stuck.",
)
OUTCOMES = Metric(
    name="sightline_records_finished_total",
    kind=MetricKind.COUNTER,
    labels=("stage", "outcome"),
    sentence="Records that a stage finished, by outcome (emit, done, reject).",
)
REJECTED = Metric(
    name="sightline_records_rejected_total",
    kind=MetricKind.COUNTER,
    labels=("stage", "reason"),
    sentence="Records that became dead letters, by reason; read them with `sightline dead-letters list`.",
)
SENT = Metric(
    name="sightline_records_sent_total",
    kind=MetricKind.COUNTER,
    labels=("stage",),
    sentence="Records that a stage published and that were acknowledged.",
)
BATCH_SIZE = Metric(
    name="sightline_batch_records",
    kind=MetricKind.HISTOGRAM,
    labels=("stage",),
    buckets=COUNT_BUCKETS,
    sentence="Records in a batch; small batches under load mean that the stage before is the slow one.",
)
PHASE_SECONDS = Metric(
    name="sightline_phase_seconds",
    kind=MetricKind.HISTOGRAM,
    labels=("stage", "phase"),
    sentence="Seconds that a batch spent in a phase of the worker, waiting for dependencies included.",
)
EVENT_AGE = Metric(
    name="sightline_event_age_seconds",
    kind=MetricKind.HISTOGRAM,
    labels=("stage",),
    sentence="Age of a record, by the transport's clock, when the stage had finished it.",
)
RETRIED = Metric(
    name="sightline_retries_total",
    kind=MetricKind.COUNTER,
    labels=("stage", "dependency"),
    sentence="Attempts that failed because a dependency was away and that are made again.",
)
WAITING = Metric(
    name="sightline_waiting_for_dependency",
    kind=MetricKind.GAUGE,
    labels=("stage", "dependency"),
    sentence="1 while a stage waits for a dependency that is away; look at that dependency, not at Sightline.",
)
LAST_PROGRESS = Metric(
    name="sightline_last_progress_timestamp_seconds",
    kind=MetricKind.GAUGE,
    labels=("stage",),
    sentence="Unix time at which a stage last finished a batch.",
)
IN_FLIGHT = Metric(
    name="sightline_batches_in_flight",
    kind=MetricKind.GAUGE,
    labels=("stage",),
    sentence="Batches being worked on now.",
)
BUILD_INFO = Metric(
    name="sightline_build_info",
    kind=MetricKind.GAUGE,
    labels=("release",),
    sentence="Always 1; the label names the release.",
)


@dataclass(frozen=True)
class MetricSet:
    """The standard metrics in one registry, shared by all the stages of a process."""

    registry: CollectorRegistry
    received: prometheus.Counter
    outcomes: prometheus.Counter
    rejected: prometheus.Counter
    sent: prometheus.Counter
    batch_size: prometheus.Histogram
    phase_seconds: prometheus.Histogram
    event_age: prometheus.Histogram
    retried: prometheus.Counter
    waiting: prometheus.Gauge
    last_progress: prometheus.Gauge
    in_flight: prometheus.Gauge

    @classmethod
    def make(cls, registry: CollectorRegistry) -> "MetricSet":
        """Register the standard metrics."""
        return cls(
            registry=registry,
            received=RECEIVED.counter(registry),
            outcomes=OUTCOMES.counter(registry),
            rejected=REJECTED.counter(registry),
            sent=SENT.counter(registry),
            batch_size=BATCH_SIZE.histogram(registry),
            phase_seconds=PHASE_SECONDS.histogram(registry),
            event_age=EVENT_AGE.histogram(registry),
            retried=RETRIED.counter(registry),
            waiting=WAITING.gauge(registry),
            last_progress=LAST_PROGRESS.gauge(registry),
            in_flight=IN_FLIGHT.gauge(registry),
        )

    def stage(self, name: str) -> "StageMetrics":
        """The standard metrics of one stage."""
        return StageMetrics(self, name)


class StageMetrics:
    """The same metrics for every stage, told apart by the label `stage`."""

    def __init__(self, metrics: MetricSet, stage: str) -> None:
        self._all = metrics
        self._stage = stage
        self.last_progress = time.monotonic()
        """Monotonic time of the last finished batch, for the liveness probe."""
        self.in_flight = 0
        """Batches being worked on now, for the liveness probe."""
        self.waiting_for: Counter[str] = Counter()
        """Dependencies waited for now, each by so many batches."""

    def received(self, records: Sequence[Received]) -> None:
        """A batch arrived."""
        self.in_flight += 1
        self._all.in_flight.labels(self._stage).set(self.in_flight)
        self._all.received.labels(self._stage).inc(len(records))
        self._all.batch_size.labels(self._stage).observe(len(records))

    def finished(self, records: Sequence[Received], outcomes: Mapping[str, Outcome], *, sent: int) -> None:
        """A batch was marked done."""
        now = time.time()
        for kind, count in Counter(type(outcome).__name__.lower() for outcome in outcomes.values()).items():
            self._all.outcomes.labels(self._stage, kind).inc(count)
        for outcome in outcomes.values():
            if isinstance(outcome, Reject):
                self._all.rejected.labels(self._stage, outcome.reason.value).inc()
        for record in records:
            if record.timestamp is not None:
                self._all.event_age.labels(self._stage).observe(max(0.0, now - record.timestamp.timestamp()))
        self._all.sent.labels(self._stage).inc(sent)
        self._all.last_progress.labels(self._stage).set(now)
        self.last_progress = time.monotonic()

    def left(self) -> None:
        """A batch was left, done or not."""
        self.in_flight -= 1
        self._all.in_flight.labels(self._stage).set(self.in_flight)

    def retried(self, dependency: str) -> None:
        """An attempt failed because a dependency is away. Waiting, and saying so, counts as progress."""
        self._all.retried.labels(self._stage, dependency).inc()
        self.last_progress = time.monotonic()

    def waiting(self, dependency: str, waits: bool) -> None:
        """A stage began or ceased to wait for a dependency."""
        self.waiting_for[dependency] += 1 if waits else -1
        if self.waiting_for[dependency] <= 0:
            del self.waiting_for[dependency]
        self._all.waiting.labels(self._stage, dependency).set(int(dependency in self.waiting_for))

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Time a phase of a batch."""
        with self._all.phase_seconds.labels(self._stage, phase.value).time():
            yield
