"""Any notification, out of whatever envelopes it travelled in.

Envelopes carry the next message as JSON text within JSON: SNS in `Message`, SQS (in the shape that
Lambda and Pipes hand on) in `Records[].body`. `Records` appears at two levels, told apart by
`eventSource`. Nothing that a message names is ever fetched: not a subscription's confirmation, not a
signing certificate. A forged message is worth one look at an object of an allowed bucket.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from runtime.settings import LimitSettings
from schemas.dead_letter import RejectReason
from schemas.errors import UndecodableRecord
from services.ingest.formats.eventbridge import is_eventbridge, read_event
from services.ingest.formats.fields import parse, printable, text_of
from services.ingest.formats.observation import Ignored, Observation, Refused
from services.ingest.formats.records import read_record, read_summary

_NO_OBJECT = Refused(RejectReason.MALFORMED_RECORD, "a record is no JSON object")

_LEAST_RECORD_BYTES = 32
"""No store says anything in less; what claims to hold more records than fit is read no further."""


def read_notification(value: bytes, *, limits: LimitSettings) -> Sequence[Observation]:
    """Everything that the bytes of a notification say, in their order. Never raises, whatever the bytes are.

    One bad record among good ones is one `Refused`. At most `limits.notification_depth` envelopes
    are opened, and nothing of more than `limits.notification_bytes` bytes is read. Takes time and
    memory in proportion to the bytes.
    """
    if len(value) > limits.notification_bytes:
        return [_too_large(f"{len(value)} bytes; the limit is {limits.notification_bytes}")]
    most = limits.notification_bytes // _LEAST_RECORD_BYTES
    read = list(islice(_each(_text(value, limits.notification_depth)), most + 1))
    if len(read) > most:
        read[most] = _too_large(f"more than {most} records; those after were not read")
    return read


def _each(observations: Iterator[Observation]) -> Iterator[Observation]:
    try:
        yield from observations
    except UndecodableRecord as error:
        yield Refused(error.reason, error.detail)


def _text(text: bytes | str, envelopes: int) -> Iterator[Observation]:
    yield from _message(parse(text), envelopes)


def _enclosed(text: str, envelopes: int) -> Iterator[Observation]:
    yield from _text(text, _opened(envelopes))


def _message(message: object, envelopes: int) -> Iterator[Observation]:
    if isinstance(message, list):
        # EventBridge Pipes hands on a batch without anything around it.
        yield from _records(message, envelopes)
    elif not isinstance(message, dict):
        raise _unknown("a JSON object was expected")
    elif isinstance(message.get("Type"), str) and "TopicArn" in message:
        yield from _sns(message, envelopes)
    elif is_eventbridge(message):
        yield from read_event(message)
    elif message.get("Records"):
        yield from _records(message["Records"], envelopes)
    elif "EventName" in message and "Key" in message:
        yield read_summary(message)
    elif message.get("Event") == "s3:TestEvent":
        yield Ignored(None, "s3:TestEvent")
    elif "Records" in message:
        yield Ignored(None, "no records")
    else:
        raise _unknown("a JSON object, but of no kind that any known store sends")


def _records(records: object, envelopes: int) -> Iterator[Observation]:
    if not isinstance(records, list):
        raise UndecodableRecord(RejectReason.MALFORMED_RECORD, "Records is no list")
    for record in records:
        if not isinstance(record, dict):
            yield _NO_OBJECT
        elif isinstance(record.get("body"), str) and record.get("eventSource") == "aws:sqs":
            yield from _each(_enclosed(record["body"], envelopes))
        elif isinstance(record.get("Sns"), dict):
            yield from _each(_sns(record["Sns"], envelopes))
        elif "eventSource" in record:
            yield from _each(_s3(record))
        else:
            yield from _each(_whole(record, envelopes))


def _s3(record: dict[str, object]) -> Iterator[Observation]:
    yield read_record(record)


def _whole(record: dict[str, object], envelopes: int) -> Iterator[Observation]:
    yield from _message(record, _opened(envelopes))


def _sns(envelope: dict[str, object], envelopes: int) -> Iterator[Observation]:
    # https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    kind = envelope.get("Type")
    if kind == "Notification":
        message = envelope.get("Message")
        if not isinstance(message, str):
            raise UndecodableRecord(RejectReason.MALFORMED_RECORD, "the SNS notification has no Message")
        yield from _enclosed(message, envelopes)
    elif kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        topic = printable(text_of(envelope.get("TopicArn")) or "a topic without a name", most=300)
        yield Ignored(
            None,
            str(kind),
            note=f"SNS sent a {kind} for {topic}. Sightline follows no address out of a message: if the topic is "
            "yours, confirm it with `aws sns confirm-subscription`, or subscribe an SQS queue, which needs none",
        )
    else:
        raise _unknown(f"an SNS message of type {printable(kind)}")


def _opened(envelopes: int) -> int:
    if envelopes <= 0:
        raise UndecodableRecord(
            RejectReason.NOTIFICATION_TOO_DEEP, "envelopes nest deeper than SIGHTLINE_LIMITS__NOTIFICATION_DEPTH allows"
        )
    return envelopes - 1


def _too_large(detail: str) -> Refused:
    return Refused(RejectReason.NOTIFICATION_TOO_LARGE, f"{detail} (SIGHTLINE_LIMITS__NOTIFICATION_BYTES)")


def _unknown(detail: str) -> UndecodableRecord:
    return UndecodableRecord(RejectReason.UNKNOWN_NOTIFICATION, detail)
