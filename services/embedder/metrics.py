"""The embedder's own metrics: where an image's time goes, and what the model is doing."""

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry

from encoders.engine import BatchReport, EncoderEngine
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


FORWARD_CAPACITY = Metric(
    name="sightline_forward_capacity_images",
    kind=MetricKind.GAUGE,
    sentence="The most images that a forward pass takes now; less than SIGHTLINE_ENCODER__BATCH_SIZE while the device "
    "has no room for more. `sightline_forward_images` over this is how full passes are.",
)
DEVICE_SECONDS = Metric(
    name="sightline_device_seconds_total",
    kind=MetricKind.COUNTER,
    labels=("device",),
    sentence="Seconds of forward passes over images, by kind of device (cpu, cuda, mps); its rate is how busy the "
    "device is, and over the images embedded it is the seconds that an image costs.",
)
DEVICE_PRICE = Metric(
    name="sightline_device_price_dollars_per_hour",
    kind=MetricKind.GAUGE,
    sentence="What the device costs that this process embeds images on, by SIGHTLINE_COST__DEVICE_DOLLARS_PER_HOUR; 0 "
    "where it was not told, and nothing where the model runs elsewhere. A device is paid for while it waits too, so "
    "dollars by image come from this and the images an hour.",
)


class DeviceMetrics:
    """Seconds and price of the device that embeds images, in one registry; of a model that runs elsewhere neither."""

    def __init__(self, registry: CollectorRegistry, *, dollars_per_hour: float = 0.0) -> None:
        self._registry = registry
        self._dollars_per_hour = dollars_per_hour
        self._seconds = DEVICE_SECONDS.counter(registry)
        self._device: prometheus.Counter | None = None

    def watch(self, engine: EncoderEngine) -> None:
        """Show the price of an entered engine's device, and count its seconds. Once."""
        kind = engine.encoder.device.partition(":")[0]
        if kind == "remote":
            return
        self._device = self._seconds.labels(kind)
        DEVICE_PRICE.gauge(self._registry).set(self._dollars_per_hour)

    def forward(self, report: BatchReport) -> None:
        """Count one forward pass; given to the engine as its `on_batch`."""
        if self._device is not None:
            self._device.inc(report.forward)


class EmbedderMetrics:
    """The embedder's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry, *, dollars_per_hour: float = 0.0) -> None:
        self._device = DeviceMetrics(registry, dollars_per_hour=dollars_per_hour)
        self.look_seconds = LOOK_SECONDS.histogram(registry)
        self.looks = LOOKS.counter(registry)
        self.bytes = BYTES.counter(registry)
        self.reused = REUSED.counter(registry)
        self._forward_images = FORWARD_IMAGES.histogram(registry)
        self._forward_seconds = FORWARD_SECONDS.histogram(registry)
        self._starved = FORWARD_STARVED.counter(registry)
        self._capacity = FORWARD_CAPACITY.gauge(registry)

    def watch(self, engine: EncoderEngine) -> None:
        """Show what an entered engine's device can take and costs, and count its seconds. Once."""
        self._capacity.set_function(lambda: engine.batch_limit)
        self._device.watch(engine)

    def forward(self, report: BatchReport) -> None:
        """Count one forward pass; given to the engine as its `on_batch`."""
        self._forward_images.observe(report.images)
        self._forward_seconds.observe(report.forward)
        self._starved.inc(report.waited)
        self._device.forward(report)
