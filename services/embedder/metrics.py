"""The embedder's own metrics: where an image's time goes, and what the model is doing."""

from prometheus_client import CollectorRegistry

from encoders.engine import BatchReport
from runtime.metrics import COUNT_BUCKETS, Metric, MetricKind

LOOK_SECONDS = Metric(
    name="sightline_look_seconds",
    kind=MetricKind.HISTOGRAM,
    labels=("source",),
    sentence="Seconds to read one object from the store; if this is most of the time, the store is the bottleneck.",
)
LOOKS = Metric(
    name="sightline_looks_total",
    kind=MetricKind.COUNTER,
    labels=("found",),
    sentence="Looks at objects by what was found (image, rejected, missing, unsettled).",
)
BYTES = Metric(
    name="sightline_bytes_read_total",
    kind=MetricKind.COUNTER,
    labels=("source",),
    sentence="Bytes read from object stores.",
)
FORWARD_IMAGES = Metric(
    name="sightline_forward_images",
    kind=MetricKind.HISTOGRAM,
    buckets=COUNT_BUCKETS,
    sentence="Images in a forward pass; far below the batch size under load means that decode or the store is slow.",
)
FORWARD_SECONDS = Metric(
    name="sightline_forward_seconds",
    kind=MetricKind.HISTOGRAM,
    sentence="Seconds of a forward pass.",
)
FORWARD_STARVED = Metric(
    name="sightline_forward_starved_seconds_total",
    kind=MetricKind.COUNTER,
    sentence="Seconds that the model waited for decoded images while images were on their way.",
)
REUSED = Metric(
    name="sightline_vectors_reused_total",
    kind=MetricKind.COUNTER,
    sentence="Forward passes saved because the same bytes had been embedded by the same encoder before.",
)


class EmbedderMetrics:
    """The embedder's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.look_seconds = LOOK_SECONDS.histogram(registry)
        self.looks = LOOKS.counter(registry)
        self.bytes = BYTES.counter(registry)
        self.reused = REUSED.counter(registry)
        self._forward_images = FORWARD_IMAGES.histogram(registry)
        self._forward_seconds = FORWARD_SECONDS.histogram(registry)
        self._starved = FORWARD_STARVED.counter(registry)

    def forward(self, report: BatchReport) -> None:
        """Count one forward pass; given to the engine as its `on_batch`."""
        self._forward_images.observe(report.images)
        self._forward_seconds.observe(report.forward)
        self._starved.inc(report.waited)
