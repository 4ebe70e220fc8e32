"""The dashboard "Flow": a column for each stage, from the bucket on the left to people on the right."""

from deploy.grafana.panels import (
    Colour,
    Dashboard,
    Panel,
    Query,
    Row,
    Unit,
    backlog_clears,
    event_loops,
    graph,
    heatmap,
    number,
    people,
    quantile,
    quantiles,
    rate,
)

STAGE_FRESHNESS = "sightline_stage_freshness_seconds"


def _lag(title: str, topic: str, tells: str, *, in_process: bool = True) -> Panel:
    """Records that wait on a topic, Kafka's or the one inside a single process; a fleet may prefix the name."""
    of = f'{{topic=~".*{topic}"}}'
    queries = [
        Query(f"topic:sightline_kafka_lag_records:sum{of}", "{{topic}}"),
        Query(f"sum by (topic) (sightline_queue_records{of})", "{{topic}} in process"),
    ]
    return graph(title, Unit.COUNT, tells, *queries[: 1 + in_process])


def _fresh(title: str, stage: str, tells: str) -> Panel:
    return graph(title, Unit.SECONDS, tells, *quantiles(STAGE_FRESHNESS, selector=f'{{stage="{stage}"}}'))


def _failures(title: str, stage: str, tells: str) -> Panel:
    of = f'{{stage="{stage}"}}'
    return graph(
        title,
        Unit.PER_SECOND,
        tells,
        Query(rate("sightline_records_rejected_total", "reason", selector=of), "{{reason}}"),
    )


HEADLINE = Row(
    "Do uploads become searchable in time?",
    [
        number(
            "Upload to searchable, p99",
            Unit.SECONDS,
            "From the store's time of the change to the index's answer, over five minutes. This is what people notice.",
            "sightline:freshness_seconds:p99_rate5m",
            steps=[(10, Colour.LOOK), (60, Colour.BAD)],
        ),
        number(
            "In time, last hour",
            Unit.SHARE,
            "Share of the images that became searchable within the objective, 10 s unless the settings say otherwise.",
            "1 - sightline:freshness_late:ratio_rate1h",
            below=Colour.BAD,
            steps=[(0.95, Colour.LOOK), (0.99, Colour.GOOD)],
            decimals=2,
        ),
        number(
            "Budget burn, last hour",
            Unit.COUNT,
            "1 spends the error budget in exactly 30 days; above 14.4 someone is woken.",
            "sightline:freshness_burn:rate1h",
            steps=[(1, Colour.LOOK), (14.4, Colour.BAD)],
            decimals=1,
        ),
        number(
            "Budget left, 30 days",
            Unit.SHARE,
            "What is left of the images that may be late; below 0 the objective is missed.",
            "sightline:freshness_budget:remaining_ratio30d",
            below=Colour.BAD,
            steps=[(0, Colour.LOOK), (0.25, Colour.GOOD)],
            decimals=0,
        ),
        number(
            "Farthest behind",
            Unit.SECONDS,
            "Age of the oldest record that nobody has finished, over all topics and partitions.",
            "max(sightline_kafka_lag_seconds) or max(sightline_queue_seconds)",
            steps=[(60, Colour.LOOK), (600, Colour.BAD)],
        ),
        number(
            "Waiting for a dependency",
            Unit.COUNT,
            "Stages that wait now. Look at the dependency, not at Sightline.",
            "sum(sightline_waiting_for_dependency)",
            steps=[(1, Colour.BAD)],
            decimals=0,
        ),
    ],
)

RATES = Row(
    "Rate, from the bucket to people",
    [
        graph(
            "Ingest: notifications",
            Unit.PER_SECOND,
            "Changes that stores told of, and what became of them. None while people upload: look at the store.",
            Query(rate("sightline_notifications_total", "origin", "became"), "{{origin}} {{became}}"),
        ),
        graph(
            "Embedder: records",
            Unit.PER_SECOND,
            "Hints received and finished. Received without finished means that the embedder is stuck or waits.",
            Query(rate("sightline_records_received_total", selector='{stage="embedder"}'), "received"),
            Query(rate("sightline_records_finished_total", "outcome", selector='{stage="embedder"}'), "{{outcome}}"),
            Query(rate("sightline_records_sent_total", selector='{stage="embedder"}'), "sent"),
        ),
        graph(
            "Indexer: points",
            Unit.PER_SECOND,
            "Points offered to the index by status, and those dropped since the index holds a later look.",
            Query(rate("sightline_points_written_total", "status"), "{{status}}"),
            Query(rate("sightline_points_stale_total", "status"), "{{status}} stale"),
        ),
        graph(
            "Search: requests",
            Unit.REQUESTS,
            "Requests of people and programs by class of status, without the probes.",
            Query(people("status"), "{{status}}"),
        ),
    ],
)

LAG = Row(
    "Lag: what waits before each stage",
    [
        _lag(
            "Before ingest",
            "bucket-notifications",
            "Notifications not yet read. Growing: add ingest processes.",
            in_process=False,
        ),
        _lag("Before the embedder", "image-events", "Hints not yet looked at. Growing: add embedders."),
        _lag("Before the indexer", "image-embeddings", "Vectors not yet written. Growing: look at Qdrant first."),
        backlog_clears(),
    ],
)

FRESHNESS = Row(
    "Freshness: the age of a change when a stage had finished it",
    [
        _fresh("After ingest", "ingest", "Most of it here: the store notifies late, or ingest lags."),
        _fresh(
            "After the embedder", "embedder", "What this adds to the panel on its left is the embedder and its lag."
        ),
        _fresh("After the indexer", "indexer", "What this adds is the index and its lag; now the image is searchable."),
        graph(
            "Upload to searchable",
            Unit.SECONDS,
            "The whole way, for images that are searchable, against the objective.",
            *quantiles("sightline_freshness_seconds"),
            Query("max(sightline_freshness_objective_seconds)", "objective"),
        ),
        heatmap(
            "Upload to searchable, all images",
            Unit.SECONDS,
            "Two bands: old notifications, or one slow partition. Hints of reconcile tell no time and are not here.",
            "sightline_freshness_seconds",
        ),
        graph(
            "Share that is late",
            Unit.SHARE,
            "Late images over an hour and over a day; the objective allows 1 % unless it is set otherwise.",
            Query("sightline:freshness_late:ratio_rate1h", "one hour"),
            Query("sightline:freshness_late:ratio_rate1d", "one day"),
            width=12,
        ),
    ],
)

FAILURES = Row(
    "Failures of each stage",
    [
        _failures(
            "Ingest: rejects", "ingest", "Notifications that cannot be read; `sightline dead-letters list` has them."
        ),
        _failures("Embedder: rejects", "embedder", "Objects that are no images, by reason."),
        _failures(
            "Indexer: rejects",
            "indexer",
            "Vectors that the collection does not take: foreign_encoder means two models.",
        ),
        graph(
            "Search: failures",
            Unit.REQUESTS,
            "Requests answered with 5xx, by route.",
            Query(people("route", status="5xx"), "{{route}}"),
        ),
        graph(
            "Waiting for a dependency",
            Unit.COUNT,
            "1 while a stage waits. The pipeline goes on by itself when the dependency answers.",
            Query(
                "max by (stage, dependency) (sightline_waiting_for_dependency)", "{{stage}} waits for {{dependency}}"
            ),
            width=12,
        ),
        graph(
            "Attempts made again",
            Unit.PER_SECOND,
            "Attempts that failed since a dependency was away.",
            Query(rate("sightline_retries_total", "stage", "dependency"), "{{stage}} {{dependency}}"),
            width=12,
        ),
    ],
)

PARTITIONS = Row(
    "Kafka, partition by partition",
    [
        graph(
            "Partitions that do not keep up",
            Unit.COUNT,
            "By how commits moved in ten minutes: stop and stall wake someone, warning means that the lag only grows.",
            Query("sum by (topic) (topic_partition:sightline_kafka_status:stop)", "{{topic}} stop"),
            Query("sum by (topic) (topic_partition:sightline_kafka_status:stall)", "{{topic}} stall"),
            Query("sum by (topic) (topic_partition:sightline_kafka_status:rewind)", "{{topic}} rewind"),
            Query("sum by (topic) (topic_partition:sightline_kafka_status:warning)", "{{topic}} warning"),
            width=12,
        ),
        graph(
            "Lag in seconds, by partition",
            Unit.SECONDS,
            "Age of the oldest record that is not finished. One line above the others: a stuck batch or one busy key.",
            Query("topic_partition:sightline_kafka_lag_seconds:max", "{{topic}} {{partition}}"),
            Query("max by (topic, partition) (sightline_queue_seconds)", "{{topic}} lane {{partition}}"),
            width=12,
        ),
        graph(
            "Offsets committed and added",
            Unit.PER_SECOND,
            "Records committed and records appended a second; where the second is higher, the lag grows.",
            Query(
                "sum by (topic) (deriv(topic_partition:sightline_kafka_committed_offset:max[$__rate_interval]))",
                "{{topic}} committed",
            ),
            Query(
                "sum by (topic) (deriv(topic_partition:sightline_kafka_end_offset:max[$__rate_interval]))",
                "{{topic}} added",
            ),
        ),
        graph(
            "Partitions assigned",
            Unit.COUNT,
            "Partitions that somebody consumes; fewer than the topic has, for long, means that nobody reads the rest.",
            Query("sum by (topic) (sightline_kafka_assigned_partitions)", "{{topic}}"),
            Query("sum by (topic) (sightline_kafka_consumer_stalled)", "{{topic}} consumers that cannot fetch"),
        ),
        graph(
            "Rebalances",
            Unit.COUNT,
            "Times that consumers lost or got partitions. Without end: members are evicted, or the autoscaler wavers.",
            Query(
                "sum by (topic, kind) (increase(sightline_kafka_rebalances_total[$__rate_interval]))",
                "{{topic}} {{kind}}",
            ),
        ),
        graph(
            "Commits and fetches that failed",
            Unit.COUNT,
            "By kind. What passes by itself is tried again; `denied` and `codec` end the process.",
            Query(
                "sum by (topic, kind) (increase(sightline_kafka_commit_failures_total[$__rate_interval]))",
                "{{topic}} commit {{kind}}",
            ),
            Query(
                "sum by (topic, kind) (increase(sightline_kafka_fetch_failures_total[$__rate_interval]))",
                "{{topic}} fetch {{kind}}",
            ),
        ),
        graph(
            "Calls to SQS that failed",
            Unit.COUNT,
            "Only where ingest reads SQS; messages that were not deleted come again, which is harmless.",
            Query("sum by (call) (increase(sightline_sqs_failures_total[$__rate_interval]))", "{{call}}"),
            width=8,
        ),
        graph(
            "Messages of SQS",
            Unit.PER_SECOND,
            "Receive far above delete: messages come again and again.",
            Query(rate("sightline_sqs_messages_total", "call"), "{{call}}"),
            width=8,
        ),
        graph(
            "Age of records when finished, p99",
            Unit.SECONDS,
            "Since the transport received them: the lag of what was done, where the panels above show what was not.",
            Query(quantile(0.99, "sightline_event_age_seconds", "stage"), "{{stage}}"),
            width=8,
        ),
    ],
)

PROCESSES = Row(
    "Processes",
    [
        graph(
            "Since the last batch",
            Unit.SECONDS,
            "Seconds since a stage last finished a batch. Rising while its lag is above zero: it is stuck.",
            Query("time() - max by (stage) (sightline_last_progress_timestamp_seconds)", "{{stage}}"),
            width=8,
        ),
        graph(
            "Batches in hand",
            Unit.COUNT,
            "Batches being worked on now, over all processes.",
            Query("sum by (stage) (sightline_batches_in_flight)", "{{stage}}"),
            width=8,
        ),
        event_loops("How late callbacks start. Near a second: heartbeats and probes are at risk.", width=8),
        graph(
            "Processes that answer, by release",
            Unit.COUNT,
            "Two releases for longer than a rollout takes: one of them does not come up.",
            Query("count by (release) (sightline_build_info)", "{{release}}"),
            width=12,
        ),
        graph(
            "Restarts, last half hour",
            Unit.COUNT,
            "By process. One that does not stay up ends its log with the reason; all of a stage wake someone.",
            Query("max by (instance) (changes(sightline_process_start_timestamp_seconds[30m]))", "{{instance}}"),
            width=12,
        ),
    ],
)

FLOW = Dashboard(
    uid="sightline-flow",
    title="Sightline: Flow",
    tells="From bucket to search, a column for each stage: rate, lag, freshness and failures.",
    rows=[HEADLINE, RATES, LAG, FRESHNESS, FAILURES, PARTITIONS, PROCESSES],
)
