"""What ingest counts beyond the standard set of every stage."""

from enum import StrEnum

from prometheus_client import CollectorRegistry

from runtime.metrics import Metric, MetricKind


class Became(StrEnum):
    """What became of one thing that a notification mentioned."""

    HINT = "hint"
    IGNORED = "ignored"
    UNWANTED = "unwanted"
    REFUSED = "refused"


class SqsCall(StrEnum):
    """The calls that the SQS receiver makes."""

    RECEIVE = "receive"
    DELETE = "delete"
    EXTEND = "extend"
    RELEASE = "release"


UNKNOWN_ORIGIN = "unknown"
"""The label of what could not be attributed to a store."""

OBSERVED = Metric(
    name="sightline_notifications_total",
    kind=MetricKind.COUNTER,
    labels=("origin", "became"),
    sentence="Changes that notifications mentioned, by store and by what became of them: a hint, ignored (no reason to "
    "look), unwanted (the include and exclude patterns), or refused (a dead letter says why).",
)
SQS_MESSAGES = Metric(
    name="sightline_sqs_messages_total",
    kind=MetricKind.COUNTER,
    labels=("call",),
    sentence="Messages that SQS accepted a call for; if receive runs away from delete, messages come again and again.",
)
SQS_FAILURES = Metric(
    name="sightline_sqs_failures_total",
    kind=MetricKind.COUNTER,
    labels=("call",),
    sentence="Calls to SQS that failed and are made again; the log names the error.",
)


class IngestMetrics:
    """Ingest's own metrics in one registry, shared by its receivers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.observed = OBSERVED.counter(registry)
        self.sqs_messages = SQS_MESSAGES.counter(registry)
        self.sqs_failures = SQS_FAILURES.counter(registry)
        for call in SqsCall:
            self.sqs_messages.labels(call.value)
            self.sqs_failures.labels(call.value)
