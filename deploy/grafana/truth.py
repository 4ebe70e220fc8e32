"""The dashboard "Truth": whether the index is true to the bucket, and what was turned away."""

from deploy.grafana.panels import (
    Colour,
    Dashboard,
    Query,
    Row,
    Unit,
    Variable,
    graph,
    looks_found,
    models_in_use,
    number,
    rate,
)

BUCKETS = '{bucket=~"$bucket"}'

HEADLINE = Row(
    "Is the index true to the bucket?",
    [
        number(
            "Drift at the last comparison",
            Unit.COUNT,
            "Objects that were missing, stale or orphaned. After the first one, lasting drift means lost events.",
            f"sum(sightline_reconcile_drift_objects{BUCKETS})",
            steps=[(1, Colour.LOOK), (100, Colour.BAD)],
            decimals=0,
        ),
        number(
            "Share that drifted",
            Unit.SHARE,
            "Of the objects that were listed. Above 1 % for an hour and a half someone is woken.",
            f"sum(sightline_reconcile_drift_objects{BUCKETS}) / sum(sightline_reconcile_listed_objects{BUCKETS})",
            steps=[(0.001, Colour.LOOK), (0.01, Colour.BAD)],
            decimals=2,
        ),
        number(
            "Since the last comparison",
            Unit.SECONDS,
            "Of the bucket, or part of one, that was compared longest ago. Three hours are too long.",
            f"time() - min(sightline_reconcile_last_success_timestamp_seconds{BUCKETS})",
            steps=[(5400, Colour.LOOK), (10800, Colour.BAD)],
        ),
        number(
            "Dead letters, last hour",
            Unit.COUNT,
            "Read them with `sightline dead-letters list`.",
            "sum(increase(sightline_records_rejected_total[1h]))",
            steps=[(1, Colour.LOOK), (1000, Colour.BAD)],
            decimals=0,
        ),
        number(
            "Worst canary",
            Unit.COUNT,
            "1 while the model makes the vectors that the index holds.",
            "min(sightline_canary_cosine)",
            below=Colour.BAD,
            steps=[(0.999, Colour.LOOK), (0.9999, Colour.GOOD)],
            decimals=5,
        ),
        number(
            "Expired unread, last day",
            Unit.COUNT,
            "Records that retention deleted before they were read; `sightline reconcile` makes up for them.",
            "sum(increase(sightline_kafka_expired_records_total[1d]))",
            steps=[(1, Colour.BAD)],
            decimals=0,
        ),
    ],
)

DRIFT = Row(
    "Reconcile",
    [
        graph(
            "Drift by bucket",
            Unit.COUNT,
            "missing: an event was lost; stale: an overwrite was; orphaned: a deletion was.",
            Query(
                f"max by (bucket, prefix, drift) (sightline_reconcile_drift_objects{BUCKETS})",
                "{{bucket}} {{prefix}} {{drift}}",
            ),
            width=8,
        ),
        graph(
            "Objects in the bucket",
            Unit.COUNT,
            "Listed by the last comparison. A sudden fall: the wrong bucket, or a folder that is not mounted.",
            Query(f"max by (bucket, prefix) (sightline_reconcile_listed_objects{BUCKETS})", "{{bucket}} {{prefix}}"),
            width=8,
        ),
        graph(
            "Since the last comparison",
            Unit.SECONDS,
            "A saw whose teeth are as long as the schedule.",
            Query(
                f"time() - max by (bucket, prefix) (sightline_reconcile_last_success_timestamp_seconds{BUCKETS})",
                "{{bucket}} {{prefix}}",
            ),
            width=8,
        ),
    ],
)

DEAD_LETTERS = Row(
    "Dead letters and rejected objects",
    [
        graph(
            "Dead letters by reason",
            Unit.COUNT,
            "New ones. foreign_encoder: two models; unknown_schema: upgrade readers first; the rest: the bytes.",
            Query(
                "sum by (stage, reason) (increase(sightline_records_rejected_total[$__rate_interval]))",
                "{{stage}} {{reason}}",
            ),
            width=12,
            stacked=True,
        ),
        graph(
            "Share of the records that is rejected",
            Unit.SHARE,
            "Over a quarter of an hour. At half of the last 500 a stage stops rather than pour a good topic away.",
            Query("stage:sightline_records_rejected:ratio_rate15m", "{{stage}}"),
            width=12,
        ),
        looks_found(width=8),
        graph(
            "Notifications that led to no look",
            Unit.PER_SECOND,
            "ignored: not about contents; unwanted: by the patterns; refused: dead letters say why.",
            Query(rate("sightline_notifications_total", "became", selector='{became!="hint"}'), "{{became}}"),
            width=8,
        ),
        graph(
            "Records that expired unread",
            Unit.COUNT,
            "Retention was shorter than an outage. Run `sightline reconcile`.",
            Query("sum by (topic) (increase(sightline_kafka_expired_records_total[$__rate_interval]))", "{{topic}}"),
            width=8,
        ),
    ],
)

WRITES = Row(
    "What the index was told",
    [
        graph(
            "Points by status",
            Unit.PER_SECOND,
            "indexed, gone and rejected: every judged object is a point.",
            Query(rate("sightline_points_written_total", "status"), "{{status}}"),
            width=8,
        ),
        graph(
            "Points dropped as stale",
            Unit.PER_SECOND,
            "The index held a later look. Some are usual after a rebalance; many: two pipelines look at one bucket.",
            Query(rate("sightline_points_stale_total", "status"), "{{status}}"),
            width=8,
        ),
        graph(
            "Vectors that were reused",
            Unit.PER_SECOND,
            "Copies and replays: the same bytes under the same encoder.",
            Query(rate("sightline_vectors_reused_total"), "reused"),
            width=8,
        ),
    ],
)

MODEL = Row(
    "Are the vectors still the same?",
    [
        graph(
            "Canary by golden input",
            Unit.COUNT,
            "Cosine with the vector that the collection keeps. A writer stops by itself below 0.9999 in float32.",
            Query("min by (golden) (sightline_canary_cosine)", "{{golden}}"),
            width=12,
        ),
        models_in_use(),
    ],
)

TRUTH = Dashboard(
    uid="sightline-truth",
    title="Sightline: Truth",
    tells="Drift between bucket and index, dead letters by reason, reconcile, the canary, and what was rejected.",
    rows=[HEADLINE, DRIFT, DEAD_LETTERS, WRITES, MODEL],
    variables=[Variable("bucket", "Bucket", "sightline_reconcile_listed_objects")],
)
