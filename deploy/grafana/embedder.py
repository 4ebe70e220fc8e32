"""The dashboard "Embedder": where a batch's second goes, whether the model is fed, and what an image costs."""

from deploy.grafana.panels import (
    Colour,
    Dashboard,
    Query,
    Row,
    Unit,
    backlog_clears,
    graph,
    looks_found,
    models_in_use,
    number,
    quantile,
    quantiles,
    rate,
)

OF = '{stage="embedder"}'
PHASES = '{stage="embedder", phase!="process"}'
"""`process` holds fetch, decode and forward, so it is shown beside them, never in one sum with them."""

HEADLINE = Row(
    "Is the model fed?",
    [
        number(
            "Images a second",
            Unit.PER_SECOND,
            "Vectors made or reused and sent, over five minutes, by the whole fleet.",
            "sightline:images_embedded:rate5m",
            decimals=1,
        ),
        number(
            "Model waits for images",
            Unit.SHARE,
            "Time that it waits for images that are on their way. Above a half: decoding or the store is slow.",
            "sightline:forward_starved:ratio5m",
            steps=[(0.25, Colour.LOOK), (0.5, Colour.BAD)],
            decimals=0,
        ),
        number(
            "Batch fill",
            Unit.SHARE,
            "Records in a batch over the most that it may hold. Low with lag: the broker or the settings.",
            'stage:sightline_batch_fill:ratio5m{stage="embedder"}',
            decimals=0,
        ),
        number(
            "Forward pass fill",
            Unit.SHARE,
            "Images in a forward pass over the most that it may hold.",
            "sightline:forward_fill:ratio5m",
            decimals=0,
        ),
        number(
            "Dollars per 1,000 images",
            Unit.DOLLARS,
            "Every hour of every embedding device, busy or not, by the price in the settings; 0 where none is set.",
            "sightline:rented_dollars_per_thousand_images:rate1h",
            decimals=4,
        ),
        number(
            "Backlog clears in",
            Unit.SECONDS,
            "At the present rate. Nothing shown, or infinity: the backlog grows.",
            'max(sightline_backlog_clears_seconds{embedders="now"})',
            steps=[(600, Colour.LOOK), (3600, Colour.BAD)],
        ),
    ],
)

TIME = Row(
    "Where a batch's time goes",
    [
        graph(
            "Seconds a batch spends in each phase",
            Unit.SECONDS,
            "Mean by phase. Most in fetch: the store; in decode: add processors; in forward: the device is the limit, "
            "as it should be; in wait: too few records arrive.",
            Query(
                f"sum by (phase) (rate(sightline_phase_seconds_sum{PHASES}[$__rate_interval]))"
                f" / sum by (phase) (rate(sightline_phase_seconds_count{PHASES}[$__rate_interval]))",
                "{{phase}}",
            ),
            width=12,
        ),
        graph(
            "Seconds of each phase, p99",
            Unit.SECONDS,
            "The slowest hundredth of the batches, `process` included: it holds fetch, decode and forward.",
            Query(quantile(0.99, "sightline_phase_seconds", "phase", selector=OF), "{{phase}}"),
            width=12,
        ),
        graph(
            "Share of each phase",
            Unit.SHARE,
            "Of all seconds that batches spent, waiting included. Batches overlap, so this is no clock time.",
            Query(
                f"sum by (phase) (rate(sightline_phase_seconds_sum{PHASES}[$__rate_interval]))"
                f" / on () group_left () sum(rate(sightline_phase_seconds_sum{PHASES}[$__rate_interval]))",
                "{{phase}}",
            ),
            width=12,
            stacked=True,
        ),
        graph(
            "Share of time the model waits for images",
            Unit.SHARE,
            "By process. One above the others: its node decodes slowly or is far from the store.",
            Query(
                "sum by (instance) (rate(sightline_forward_starved_seconds_total[$__rate_interval]))", "{{instance}}"
            ),
            width=12,
        ),
    ],
)

BATCHES = Row(
    "Batches and forward passes",
    [
        graph(
            "Records in a batch",
            Unit.COUNT,
            "Against the most that it may hold.",
            *quantiles("sightline_batch_records", selector=OF),
            Query(f"max(sightline_batch_capacity_records{OF})", "most"),
        ),
        graph(
            "Images in a forward pass",
            Unit.COUNT,
            "Far below the most under load: decode or the store is slow.",
            *quantiles("sightline_forward_images"),
            Query("max(sightline_forward_capacity_images)", "most"),
        ),
        graph(
            "Seconds of a forward pass",
            Unit.SECONDS,
            "Longer at the same fill: the device is shared, throttled, or another release runs.",
            *quantiles("sightline_forward_seconds"),
        ),
        graph(
            "Images a second",
            Unit.PER_SECOND,
            "Sent, and of these the ones whose bytes had been embedded before.",
            Query(rate("sightline_images_embedded_total"), "embedded"),
            Query(rate("sightline_vectors_reused_total"), "reused"),
        ),
    ],
)

STORE = Row(
    "Looking at objects",
    [
        graph(
            "Seconds to read one object",
            Unit.SECONDS,
            "By kind of store. If this is most of a batch's time, the store is the bottleneck.",
            *quantiles("sightline_look_seconds", "source"),
        ),
        graph(
            "Bytes read",
            Unit.BYTES_PER_SECOND,
            "From stores of each kind; flat at a round number looks like a limit of the network.",
            Query(rate("sightline_bytes_read_total", "source"), "{{source}}"),
        ),
        looks_found(),
        graph(
            "Attempts made again",
            Unit.PER_SECOND,
            "By the dependency that was away.",
            Query(rate("sightline_retries_total", "dependency", selector=OF), "{{dependency}}"),
        ),
    ],
)

DEVICE = Row(
    "The device",
    [
        graph(
            "Busy with forward passes",
            Unit.SHARE,
            "Seconds of forward passes a second, by process and device: 1 is a device that never rests.",
            Query(
                "sum by (instance, device) (rate(sightline_device_seconds_total[$__rate_interval]))",
                "{{instance}} {{device}}",
            ),
        ),
        graph(
            "Utilisation of the accelerator",
            Unit.SHARE,
            "As its driver tells it. High here and low on the left: somebody else uses the device.",
            Query("max by (instance) (sightline_accelerator_utilization_ratio)", "{{instance}}"),
        ),
        graph(
            "Memory of the accelerator",
            Unit.BYTES,
            "Tensors, what the allocator keeps for them, used by all processes, and all there is. Allocated near "
            "total: smaller batches; used far above reserved: others are on the card.",
            Query("max by (instance, kind) (sightline_accelerator_memory_bytes)", "{{instance}} {{kind}}"),
        ),
        models_in_use(width=6),
    ],
)

COST = Row(
    "Cost and capacity",
    [
        graph(
            "Device seconds per 1,000 images",
            Unit.SECONDS,
            "Seconds of forward passes, by device, over an hour.",
            Query("device:sightline_device_seconds_per_thousand_images:rate1h", "{{device}}"),
            width=8,
        ),
        graph(
            "Dollars per 1,000 images",
            Unit.DOLLARS,
            "Busy: forward passes only. Rented: every hour of every device. Far apart: run fewer, or larger batches.",
            Query("sightline:busy_dollars_per_thousand_images:rate1h", "busy"),
            Query("sightline:rented_dollars_per_thousand_images:rate1h", "rented"),
            width=8,
        ),
        backlog_clears(width=8),
    ],
)

EMBEDDER = Dashboard(
    uid="sightline-embedder",
    title="Sightline: Embedder",
    tells="Phases, batch fill, forward passes, the device, and what a thousand images cost.",
    rows=[HEADLINE, TIME, BATCHES, STORE, DEVICE, COST],
)
