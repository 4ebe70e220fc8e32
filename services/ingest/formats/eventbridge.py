"""Amazon EventBridge: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html.

How keys are encoded is not documented, and readers of it disagree. The key is taken as it stands;
where it could as well be form-encoded, the other reading is a second hint, since a look at an object
that does not exist does no harm and a missed one would.
"""

from collections.abc import Iterator, Sequence

from schemas.dead_letter import RejectReason
from schemas.errors import UndecodableRecord
from schemas.events import Claim, EventOrigin
from services.ingest.formats.fields import member, printable, size_of, text_of, time_of
from services.ingest.formats.keys import could_be_form_encoded, form_decoded, plain
from services.ingest.formats.names import meaning_of_detail_type
from services.ingest.formats.observation import Ignored, Observation, ObservedChange, Refused
from services.ingest.formats.records import bucket_name


def is_eventbridge(message: dict[str, object]) -> bool:
    """True for what has EventBridge's envelope, whichever service it speaks of."""
    return "detail-type" in message and "detail" in message


def read_event(message: dict[str, object]) -> Sequence[Observation]:
    """What an EventBridge event says. Raises `UndecodableRecord` where it is not about S3."""
    if message.get("source") != "aws.s3":
        raise UndecodableRecord(
            RejectReason.UNKNOWN_NOTIFICATION,
            f"an EventBridge event from {printable(message.get('source'))}; limit the rule to source aws.s3",
        )
    detail_type = text_of(message.get("detail-type")) or ""
    kind = meaning_of_detail_type(detail_type)
    if kind is None:
        return [Ignored(EventOrigin.EVENTBRIDGE, printable(detail_type))]
    detail = message["detail"]
    try:
        bucket = bucket_name(member(detail, "bucket", "name"))
        key = plain(member(detail, "object", "key"))
    except UndecodableRecord as error:
        return [Refused(error.reason, error.detail, EventOrigin.EVENTBRIDGE)]
    claim = Claim(
        event_name=detail_type,
        etag=text_of(member(detail, "object", "etag")),
        size=size_of(member(detail, "object", "size")),
        version_id=text_of(member(detail, "object", "version-id")),
        sequencer=text_of(member(detail, "object", "sequencer")),
    )
    time = time_of(message.get("time"))
    return [ObservedChange(bucket, reading, kind, EventOrigin.EVENTBRIDGE, time, claim) for reading in _readings(key)]


def _readings(key: str) -> Iterator[str]:
    yield key
    if could_be_form_encoded(key):
        try:
            yield form_decoded(key)
        except UndecodableRecord:
            return  # then it was not encoded
