"""The standard metrics of every stage, told apart by the label `stage`; what a service adds, it declares itself."""

import itertools
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry

from runtime.batch import Received
from runtime.in_hand import InHand, Phase, Spent, booked, in_hand
from runtime.metric import COUNT_BUCKETS, SECONDS_BUCKETS, Metric, MetricKind
from runtime.stage import Emit, Outcome, Reject
from schemas.codec import Sendable
from schemas.dead_letter import RejectReason
from schemas.events import ImageEmbedded

__all__ = ["COUNT_BUCKETS", "SECONDS_BUCKETS", "Metric", "MetricKind", "MetricSet", "Phase", "StageMetrics"]

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
BATCH_CAPACITY = Metric(
    name="sightline_batch_capacity_records",
    kind=MetricKind.GAUGE,
    labels=("stage",),
    sentence="The most records that a batch may hold; `sightline_batch_records` over this is how full batches are. "
    "Full batches and growing lag mean that this stage is the slow one.",
)
PHASE_SECONDS = Metric(
    name="sightline_phase_seconds",
    kind=MetricKind.HISTOGRAM,
    labels=("stage", "phase"),
    buckets=SECONDS_BUCKETS,
    sentence="Seconds that a consumer spent in a phase, waiting for dependencies included. wait (for a batch, told in "
    "pieces of at most 5 s), process, publish, dead_letter and commit add up to its time. Within process, "
    "fetch, decode and forward (embedder) and upsert (indexer) are booked to the phase of the image that is "
    "furthest: fetch and decode are when the model had none of the batch's images. Much decode: more "
    "processors; much fetch: the store is slow; much wait: this stage is fast enough.",
)
EVENT_AGE = Metric(
    name="sightline_event_age_seconds",
    kind=MetricKind.HISTOGRAM,
    labels=("stage",),
    sentence="Age of a record, by the transport's clock, when the stage had finished it.",
)
STAGE_FRESHNESS = Metric(
    name="sightline_stage_freshness_seconds",
    kind=MetricKind.HISTOGRAM,
    labels=("stage",),
    buckets=SECONDS_BUCKETS,
    sentence="Seconds from the change in the store (its own time, where the hint tells it) until a stage had finished "
    "with it; the stage at which this jumps is where changes wait.",
)
EMBEDDED = Metric(
    name="sightline_images_embedded_total",
    kind=MetricKind.COUNTER,
    sentence="Images whose vector was made, or reused, and sent on; its rate is the images per second.",
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
STARTED = Metric(
    name="sightline_process_start_timestamp_seconds",
    kind=MetricKind.GAUGE,
    sentence="Unix time at which this process started. A new one again and again: it crashes; the last line of its log "
    "says why.",
)
MODEL_INFO = Metric(
    name="sightline_model_info",
    kind=MetricKind.GAUGE,
    labels=("model", "fingerprint", "device", "dtype"),
    sentence="Always 1; the labels name the model that this process has loaded. Two fingerprints in one fleet mean "
    "that records of one of them become dead letters.",
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
    batch_capacity: prometheus.Gauge
    phase_seconds: prometheus.Histogram
    event_age: prometheus.Histogram
    freshness: prometheus.Histogram
    embedded: prometheus.Counter
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
            batch_capacity=BATCH_CAPACITY.gauge(registry),
            phase_seconds=PHASE_SECONDS.histogram(registry),
            event_age=EVENT_AGE.histogram(registry),
            freshness=STAGE_FRESHNESS.histogram(registry),
            embedded=EMBEDDED.counter(registry),
            retried=RETRIED.counter(registry),
            waiting=WAITING.gauge(registry),
            last_progress=LAST_PROGRESS.gauge(registry),
            in_flight=IN_FLIGHT.gauge(registry),
        )

    def stage(self, name: str) -> "StageMetrics":
        """The standard metrics of one stage."""
        return StageMetrics(self, name)


class StageMetrics:
    """The same metrics for every stage, told apart by the label `stage`; and the batches that it has in hand."""

    def __init__(self, metrics: MetricSet, stage: str) -> None:
        self._all = metrics
        self._stage = stage
        # Numbered, since an address is soon another batch's, and the liveness probe would take the two for one.
        self._hands: dict[InHand, int] = {}
        self._numbers = itertools.count()
        # No rate sees the first count of a series that begins with it, and the first dead letter of a kind is news.
        for reason in RejectReason:
            metrics.rejected.labels(stage, reason.value)
        self.waiting_for: Counter[str] = Counter()
        """Dependencies waited for now, each by so many batches."""

    @property
    def in_flight(self) -> int:
        """Batches being worked on now."""
        return len(self._hands)

    def work(self) -> Mapping[Hashable, int | None]:
        """For the liveness probe: each batch in hand with how often it has moved; None for one that merely waits."""
        return {number: None if hand.waiting_for else hand.moves for hand, number in self._hands.items()}

    def capacity(self, records: int) -> None:
        """A batch may hold so many records."""
        self._all.batch_capacity.labels(self._stage).set(records)

    def received(self, records: Sequence[Received]) -> InHand:
        """A batch arrived."""
        hand = InHand(records)
        self._hands[hand] = next(self._numbers)
        self._all.in_flight.labels(self._stage).set(self.in_flight)
        self._all.received.labels(self._stage).inc(len(records))
        self._all.batch_size.labels(self._stage).observe(len(records))
        return hand

    def finished(
        self, hand: InHand, events: Mapping[str, object], outcomes: Mapping[str, Outcome], *, sent: int
    ) -> None:
        """A batch was marked done. `events` are what was read of its records, by id; outcomes have the same ids."""
        now = time.time()
        for kind, count in Counter(type(outcome).__name__.lower() for outcome in outcomes.values()).items():
            self._all.outcomes.labels(self._stage, kind).inc(count)
        for outcome in outcomes.values():
            if isinstance(outcome, Reject):
                self._all.rejected.labels(self._stage, outcome.reason.value).inc()
        for record in hand.records:
            if record.timestamp is not None:
                self._all.event_age.labels(self._stage).observe(max(0.0, now - record.timestamp.timestamp()))
            told = _emitted(outcomes[record.id]) or (events.get(record.id),)
            for changed in filter(None, map(_event_time, told)):
                self._all.freshness.labels(self._stage).observe(max(0.0, now - changed.timestamp()))
            self._all.embedded.inc(sum(isinstance(one, ImageEmbedded) for one in _emitted(outcomes[record.id])))
        self._all.sent.labels(self._stage).inc(sent)
        self._all.last_progress.labels(self._stage).set(now)

    def left(self, hand: InHand) -> None:
        """A batch was left, done or not."""
        del self._hands[hand]
        self._all.in_flight.labels(self._stage).set(self.in_flight)

    def retried(self, dependency: str) -> None:
        """An attempt failed because a dependency is away. Waiting, and saying so, counts as progress."""
        self._all.retried.labels(self._stage, dependency).inc()
        in_hand().moved()

    def waiting(self, dependency: str, waits: bool) -> None:
        """A batch began or ceased to wait for a dependency."""
        in_hand().waiting_for = dependency if waits else None
        self.waiting_for[dependency] += 1 if waits else -1
        if self.waiting_for[dependency] <= 0:
            del self.waiting_for[dependency]
        self._all.waiting.labels(self._stage, dependency).set(int(dependency in self.waiting_for))

    @contextmanager
    def phase(self, phase: Phase, hand: InHand) -> Iterator[None]:
        """Time a phase of a batch; with `process`, the phases that the stage told of."""
        began = time.perf_counter()
        try:
            yield
        finally:
            hand.stretches.append(Spent(phase, began, time.perf_counter()))
            took = {phase: hand.stretches[-1].ended - began}
            if phase is Phase.PROCESS:
                took |= booked(hand.spent)
            for one, seconds in took.items():
                self.took(one, seconds)
            hand.phases |= took
            hand.moved()

    def took(self, phase: Phase, seconds: float) -> None:
        """A consumer spent so many seconds in a phase."""
        self._all.phase_seconds.labels(self._stage, phase.value).observe(seconds)


def _emitted(outcome: Outcome) -> Sequence[Sendable]:
    return outcome.events if isinstance(outcome, Emit | Reject) else ()


def _event_time(event: object) -> datetime | None:
    """The store's time of the change that an event is about, where it tells it."""
    found = getattr(event, "event_time", None)
    return found if isinstance(found, datetime) else None
